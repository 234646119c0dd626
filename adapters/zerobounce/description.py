"""The endpoints in words, and what clients send to them."""

from __future__ import annotations

from adapters.contract.description import (
    ADDRESS,
    EXAMPLE_ADDRESS,
    EXAMPLE_LIST,
    FORM,
    MULTIPART,
    Description,
    Param,
    Place,
)
from adapters.contract.filters import FilterTarget
from adapters.zerobounce.single import BATCH_WAIT_S, MAX_AT_ONCE

FILE_ID = Param(
    "file_id", "The id of the file.", "2b7e1516-28ae-4d2a-abf7-158809cf4f3c", required=True
)

VALIDATE = Description(
    "Verify one address.",
    (
        ADDRESS,
        Param("ip_address", "Where the address signed up; it is ignored.", "192.0.2.1"),
        Param(
            "timeout",
            "Seconds to wait for a result; then it is `unknown`.",
            10,
            minimum=3,
            maximum=60,
        ),
        Param("activity_data", "Whether to show the activity, which is not known.", True),
        Param(
            "greylist_processing",
            "Whether a greylisted address is verified again, half an hour later.",
            True,
        ),
        Param("callback_url", "Gets the second result.", "https://example.com/hook"),
        Param("domain_info", "Whether to show facts of the domain, which are not checked.", True),
    ),
    (FORM,),
)
BATCH = Description(
    f"Verify up to {MAX_AT_ONCE} addresses.",
    (
        Param(
            "email_batch",
            "The addresses.",
            [{"email_address": EXAMPLE_ADDRESS, "ip_address": ""}],
            required=True,
        ),
        Param(
            "timeout",
            f"Seconds to wait for all results, {BATCH_WAIT_S:.0f} unless given.",
            30,
            minimum=10,
            maximum=120,
        ),
    ),
)
CREDITS = Description("Show the credits; -1 with a wrong key.", (), (FORM,))
USAGE = Description(
    "Show the results of single verifications and batches between two days.",
    (
        Param("start_date", "The first day.", "2026-01-01", required=True),
        Param("end_date", "The last day.", "2026-12-31", required=True),
    ),
    (FORM,),
)
ACTIVITY = Description(
    "Show when a mailbox was used last, which is known for a test key alone.", (ADDRESS,), (FORM,)
)
SCORE = Description("Score one address, from 0 to 10.", (ADDRESS,), (FORM,))
GUESS = Description(
    "Guess the format of a domain's addresses, which is found for a test key alone.",
    (
        Param("domain", "The domain; `company_name` may replace it.", "example.com", required=True),
        Param("company_name", "The company.", "Example"),
        Param("first_name", "The first name of a person.", "Ann"),
        Param("middle_name", "The middle name of a person.", "B."),
        Param("last_name", "The last name of a person.", "Smith"),
    ),
    (FORM,),
)
FILTERS = Description("List the filters.", (), (FORM,))
FILTER_PARAMS = (
    Param(
        "rule",
        "Whether to allow or to block.",
        "block",
        required=True,
        choices=("allow", "block"),
    ),
    Param(
        "target",
        "What of an address the filter looks at.",
        "email",
        required=True,
        choices=tuple(FilterTarget),
    ),
    Param(
        "value",
        "The address, domain, mail host or top-level domain.",
        "ann@example.com",
        required=True,
    ),
)
FILTER_ADD = Description("Add a filter.", FILTER_PARAMS, (FORM,))
FILTER_DELETE = Description("Delete a filter.", FILTER_PARAMS, (FORM,))
SEND = Description(
    "Upload a list, a CSV file.",
    (
        Param("file", "The file.", EXAMPLE_LIST, required=True, place=Place.FILE),
        Param(
            "email_address_column",
            "The number of the column with the addresses, from 1.",
            1,
            required=True,
            minimum=1,
        ),
        Param("has_header_row", "Whether the first row has titles.", True),
        Param("remove_duplicate", "Whether repeated addresses are removed; on.", False),
        Param("return_url", "Gets a POST when the file is done.", "https://example.com/hook"),
        Param("allow_phase_2", "Whether the status shows the second phase.", True),
    ),
    (MULTIPART,),
)
STATUS = Description("Show a file.", (FILE_ID,), (FORM,))
GET = Description(
    "Fetch the results of a completed file, as CSV.",
    (
        FILE_ID,
        Param("activity_data", "Whether to append the activity, which is not known.", True),
    ),
    (FORM,),
)
DELETE = Description("Delete a file.", (FILE_ID,), (FORM,))
