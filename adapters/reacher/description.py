"""The endpoints in words, and what clients send to them."""

from __future__ import annotations

from adapters.contract.description import EXAMPLE_ADDRESS, Description, Param, Place
from adapters.reacher.body import U16_MAX, VARIANTS
from adapters.reacher.bulk import DEFAULT_LIMIT, MAX_JOB_ID, MAX_NUMBER

IGNORED = "How the vendor's server would ask; ignored, but for its type."
JOB_ID = Param(
    "job_id",
    "The id of the job.",
    1_000_001,
    minimum=0,
    maximum=MAX_JOB_ID,
    place=Place.PATH,
)

CHECK = Description(
    "Verify one address.",
    (
        Param("to_email", "The address to verify.", EXAMPLE_ADDRESS, required=True),
        Param("from_email", IGNORED, "hello@localhost"),
        Param("hello_name", IGNORED, "localhost"),
        Param("proxy", IGNORED, {"host": "proxy.example.com", "port": 1080}),
        Param("smtp_port", IGNORED, 25, minimum=0, maximum=U16_MAX),
        Param("smtp_timeout", IGNORED, {"secs": 45, "nanos": 0}),
        *(Param(name, IGNORED, words[0], choices=words) for name, (words, _) in VARIANTS.items()),
    ),
)
BULK = Description(
    "Submit a list.",
    (
        Param(
            "input",
            "The addresses.",
            [EXAMPLE_ADDRESS, "undeliverable@example.com"],
            required=True,
        ),
        Param(
            "webhook",
            "Gets a POST for each result.",
            {
                "on_each_email": {
                    "url": "https://example.com/hook",
                    "headers": {"x-token": "a1b2"},
                    "extra": {"list": "7"},
                }
            },
        ),
    ),
)
JOB = Description("Show the progress of a job.", (JOB_ID,))
RESULTS = Description(
    "Fetch the results of a finished job.",
    (
        JOB_ID,
        Param("format", "The format of the results.", "csv", choices=("json", "csv")),
        Param(
            "limit",
            f"The most results, {DEFAULT_LIMIT} unless given; in CSV all.",
            10,
            minimum=0,
            maximum=MAX_NUMBER,
        ),
        Param("offset", "Results to skip.", 1, minimum=0, maximum=MAX_NUMBER),
    ),
)
VERSION = Description("Show the version of the server.")
VERSION_BELOW = Description(
    "Show the version of the server, whatever follows.",
    (Param("rest", "It is ignored.", "anything", place=Place.PATH),),
)
