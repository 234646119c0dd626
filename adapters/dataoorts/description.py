"""The endpoints in words, and what clients send to them."""

from __future__ import annotations

from adapters.contract.description import ADDRESS, EXAMPLE_ADDRESS, Description, Param

HEALTH = Description("Whether the service is up.")
VERIFY = Description(
    "Verify one address.",
    (ADDRESS, Param("info", "Whether to show a guess at the owner's name too.", "true")),
)
DATA = Description("Guess the name of an address's owner.", (ADDRESS,))
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
BULK_RESULTS = Description(
    "Show the results of a batch; 202 until it is done.",
    (Param("id", "The id of the batch.", "0KVBG3TK6QXFJKIYY6Z4ECA7AXZ", required=True),),
)
