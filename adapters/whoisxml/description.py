"""The endpoints in words, and what clients send to them."""

from __future__ import annotations

from adapters.contract.description import EXAMPLE_ADDRESS, FORM, Description, Param
from adapters.contract.wire import JSON

FORMAT = Param("format", "The format of the reply.", "xml", choices=("json", "xml"))
OUTPUT_FORMAT = Param("outputFormat", "The format of the reply.", "XML", choices=("JSON", "XML"))

VERIFY = Description(
    "Verify one address.",
    (
        Param("emailAddress", "The address to verify.", EXAMPLE_ADDRESS, required=True),
        Param("validateDNS", "Whether to look up the domain; on.", 0),
        Param("validateSMTP", "Whether to ask the mail server; on.", 0),
        Param("checkCatchAll", "Whether to find out if the domain accepts every name; on.", 0),
        Param("checkFree", "Whether to show if the domain is a free mail service; on.", 0),
        Param("checkDisposable", "Whether to show if the domain is disposable; on.", 0),
        Param("_hardRefresh", "Whether to bypass stored results.", 1),
        OUTPUT_FORMAT,
    ),
    (JSON, FORM),
)
BALANCE = Description(
    "Show the credits.",
    (Param("productId", "Only this product: 7 is email verification.", 3), OUTPUT_FORMAT),
)
REQUEST = Description(
    "Submit a batch.",
    (
        Param(
            "emails",
            "The addresses.",
            [EXAMPLE_ADDRESS, "undeliverable@example.com"],
            required=True,
        ),
        Param("version", "The version of the single API whose checks are made.", 2),
        FORMAT,
    ),
)
LIST = Description(
    "List the batches.",
    (
        Param("page", "The page, from 1.", 2, minimum=1),
        Param("perPage", "Batches on a page, 10 unless given.", 20, minimum=10, maximum=50),
        Param("onlyIds", "Whether to show ids alone; on.", False),
        Param("sort", "The order of the dates.", "asc", choices=("asc", "desc")),
        FORMAT,
    ),
)
STATUS = Description(
    "Show batches.",
    (Param("ids", "The ids of the batches.", [544], required=True), FORMAT),
)
RECORD_PARAMS = (
    Param("id", "The id of the batch.", 544, required=True),
    Param("format", "The format of the reply.", "csv", choices=("json", "xml", "csv")),
)
COMPLETED = Description("Show the results of a batch.", RECORD_PARAMS)
FAILED = Description("Show the addresses of a batch that have no result.", RECORD_PARAMS)
