"""The endpoints in words, and what clients send to them."""

from __future__ import annotations

from adapters.contract.description import ADDRESS, CSV, Description, Param, Place
from adapters.kickbox.single import DEFAULT_TIMEOUT_MS, MAX_TIMEOUT_MS, MIN_TIMEOUT_MS

JOB_ID = Param("job_id", "The id of the batch.", "123", place=Place.PATH)

VERIFY = Description(
    "Verify one address.",
    (
        ADDRESS,
        Param(
            "timeout",
            f"Milliseconds to wait for a result, {DEFAULT_TIMEOUT_MS:,} unless given.",
            8_000,
            minimum=MIN_TIMEOUT_MS,
            maximum=MAX_TIMEOUT_MS,
        ),
    ),
)
BATCH = Description(
    "Submit a list, one address on a line or a CSV file.",
    (
        Param("X-Kickbox-Filename", "The name of the batch.", "list.csv", place=Place.HEADER),
        Param(
            "X-Kickbox-Callback",
            "Gets a POST when the batch is done.",
            "https://example.com/hook",
            place=Place.HEADER,
        ),
    ),
    (CSV,),
    list_body=True,
)
BATCH_STATUS = Description("Show a batch.", (JOB_ID,))
BATCH_STATUS_BY_QUERY = Description(
    "Show a batch.", (Param("id", "The id of the batch.", "123", required=True),)
)
DOWNLOAD = Description("Fetch the results of a batch as a CSV file.")
BALANCE = Description("Show the credits.")
DISPOSABLE = Description(
    "Whether a domain, or that of an address, is known for disposable addresses.",
    (Param("text", "The domain or the address.", "mailinator.com", place=Place.PATH),),
)
DISPOSABLE_BLANK = Description("The reply for no domain at all.")
