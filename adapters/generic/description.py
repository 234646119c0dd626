"""The endpoints in words, and what clients send to them."""

from __future__ import annotations

from adapters.contract.description import ADDRESS, EXAMPLE_ADDRESS, Description, Param
from adapters.generic.bulk import ANY_TIER, DEFAULT_LIMIT, MAX_LIMIT, MAX_PAGE
from adapters.generic.words import TIERS

VERIFY = Description(
    "Verify one address.",
    (ADDRESS, Param("refresh", "Whether to bypass stored results.", True)),
)
BULK = Description(
    "Submit a batch.",
    (
        Param(
            "emails",
            "The addresses.",
            [EXAMPLE_ADDRESS, "undeliverable@example.com"],
            required=True,
        ),
    ),
)
JOB = Description("Show the progress of a batch.")
RESULTS = Description(
    "Show a page of the results of a completed batch.",
    (
        Param("page", "The page, from 1.", 2, minimum=1, maximum=MAX_PAGE),
        Param(
            "limit",
            f"Results on a page, {DEFAULT_LIMIT} unless given.",
            50,
            minimum=1,
            maximum=MAX_LIMIT,
        ),
        Param("tier", "Only results of this tier.", "risky", choices=(ANY_TIER, *TIERS.values())),
    ),
)
DOWNLOAD = Description("Fetch the results of a completed batch as a CSV file.")
ACCOUNT = Description("Show the plan and its use this month.")
PLANS = Description("List the plans.")
