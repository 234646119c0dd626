"""The endpoints in words, and what clients send to them."""

from __future__ import annotations

from adapters.contract.description import (
    ADDRESS,
    EXAMPLE_ADDRESS,
    FORM,
    Description,
    Param,
)
from adapters.contract.wire import JSON
from adapters.emailable.batch import FIELDS, MAX_INLINE_RESULTS
from adapters.emailable.single import DEFAULT_WAIT_S, MAX_WAIT_S, MIN_WAIT_S

BODIES = (JSON, FORM)
SIMULATE = Param("simulate", "With a test key: the state or the error to simulate.", "verifying")

VERIFY = Description(
    "Verify one address.",
    (
        ADDRESS,
        Param("smtp", "Whether to ask the mail server; on unless switched off.", False),
        Param("accept_all", "Whether to find out if the domain accepts every name.", True),
        Param(
            "timeout",
            f"Seconds to wait for a result, {DEFAULT_WAIT_S} unless given; then the status is 249.",
            8,
            minimum=MIN_WAIT_S,
            maximum=MAX_WAIT_S,
        ),
    ),
    BODIES,
)
BATCH = Description(
    "Submit a batch.",
    (
        Param(
            "emails",
            "The addresses, with commas between them.",
            f"{EXAMPLE_ADDRESS},undeliverable@example.com",
            required=True,
        ),
        Param("url", "Gets a POST when the batch is done.", "https://example.com/hook"),
        Param("retries", "Whether greylisted addresses are tried again; on.", False),
        Param(
            "response_fields",
            f"Names of the members that rows have, with commas between them: {', '.join(FIELDS)}.",
            "email,state,reason",
            further=("domain",),
        ),
        SIMULATE,
    ),
    BODIES,
)
BATCH_STATUS = Description(
    f"Show a batch, with its results once it is complete; those of more than {MAX_INLINE_RESULTS:,}"
    " addresses are a file.",
    (
        Param("id", "The id of the batch.", "5cff27400000000000000000", required=True),
        Param("partial", "Whether to show results before the batch is complete.", True),
        SIMULATE,
    ),
)
DOWNLOAD = Description("Fetch the results of a large batch, a CSV file in a ZIP archive.")
ACCOUNT = Description("Show the account and its credits.")
