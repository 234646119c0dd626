"""The endpoints in words, and what clients send to them: in the query, as a form or as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from adapters.contract.description import ADDRESS, EXAMPLE_ADDRESS, FORM, Description, Param, Place
from adapters.contract.wire import JSON
from adapters.neverbounce.create import REMOTE, SUPPLIED
from adapters.neverbounce.jobs import FLAGS_OF_STATES, STATES
from adapters.neverbounce.params import MAX_JOB_ID
from adapters.neverbounce.results import BOOLEANS, COLUMNS, DUPLICATES, LINE_ENDS, SEGMENTS
from adapters.neverbounce.single import MAX_TIMEOUT_S

BODIES = (JSON, FORM)
JOB_ID = Param(
    "job_id", "The id of the job.", 150_970, required=True, minimum=0, maximum=MAX_JOB_ID
)
PAGES = (
    Param("page", "The page, from 1.", 2, minimum=1),
    Param("items_per_page", "Items on a page, 10 unless given.", 20, minimum=1, maximum=1_000),
)
SEGMENT_PARAMS = tuple(
    Param(name, f"Whether to show rows with the result `{word}`.", 1)
    for name, word in SEGMENTS.items()
)
HISTORICAL = Param(
    "request_meta_data[leverage_historical_data]",
    "Whether a stored result will do; yes, unless it is 0.",
    0,
)
AUTO_START = Param("auto_start", "Whether to start the job at once.", True)
WITH_DUPLICATES = Param(DUPLICATES, "Whether to show repeated addresses.", True)
RUN_SAMPLE = Param("run_sample", "Whether to take a sample rather than start the job.", True)

DESCRIPTIONS: Mapping[str, Description] = MappingProxyType(
    {
        "single/check": Description(
            "Verify one address.",
            (
                ADDRESS,
                Param("address_info", "Whether to show the parts of the address.", True),
                Param("credits_info", "Whether to show the credits.", True),
                HISTORICAL,
                Param(
                    "timeout",
                    "Seconds to wait for a result, 30 unless given; then it is `unknown`.",
                    10,
                    minimum=1,
                    maximum=MAX_TIMEOUT_S,
                ),
            ),
            BODIES,
        ),
        "account/info": Description("Show the credits and the number of jobs.", (), BODIES),
        "poe/confirm": Description(
            "Confirm a result of the vendor's widget; only for a test key one is.",
            (
                ADDRESS,
                Param("transaction_id", "The id from the widget.", "NBTRNS-1", required=True),
                Param("confirmation_token", "The token from the widget.", "a1b2", required=True),
                Param("result", "The result that the token stands for.", "valid"),
            ),
            BODIES,
        ),
        "jobs/create": Description(
            "Create a job from a list.",
            (
                Param(
                    "input_location",
                    "Whether `input` is the list, or a URL from which it is fetched.",
                    SUPPLIED,
                    required=True,
                    choices=(SUPPLIED, REMOTE),
                ),
                Param(
                    "input",
                    "The rows, as objects or as arrays, or the URL.",
                    [{"id": "1", "email": EXAMPLE_ADDRESS, "name": "Ann"}],
                    required=True,
                    place=Place.BODY,
                ),
                Param("filename", "The name of the job.", "list.csv"),
                HISTORICAL,
                Param("auto_parse", "Whether to parse the list at once.", True),
                AUTO_START,
                RUN_SAMPLE,
                Param("callback_url", "Gets a POST at each event.", "https://example.com/hook"),
                Param(
                    "callback_headers",
                    "Headers of these POSTs.",
                    {"X-Token": "a1b2"},
                    place=Place.BODY,
                ),
            ),
        ),
        "jobs/parse": Description("Parse the list of a job.", (JOB_ID, AUTO_START), BODIES),
        "jobs/start": Description("Start a parsed job.", (JOB_ID, RUN_SAMPLE), BODIES),
        "jobs/status": Description("Show a job.", (JOB_ID,), BODIES),
        "jobs/search": Description(
            "Search the jobs.",
            (
                Param("job_id", "Only this job.", 150_970, minimum=0, maximum=MAX_JOB_ID),
                Param("filename", "Only jobs with this name.", "list.csv"),
                Param("job_status", "Only jobs in this state.", "complete", choices=tuple(STATES)),
                *(
                    Param(name, f"Only jobs in the state `{word}`, with any other such switch.", 1)
                    for name, word in FLAGS_OF_STATES.items()
                ),
                *PAGES,
            ),
            BODIES,
            open_members=frozenset({"query"}),
        ),
        "jobs/results": Description(
            "Show a page of the results of a completed job.",
            (JOB_ID, *SEGMENT_PARAMS, WITH_DUPLICATES, *PAGES),
            BODIES,
            open_members=frozenset({"data"}),
        ),
        "jobs/download": Description(
            "Fetch the results of a completed job as a CSV file.",
            (
                JOB_ID,
                *SEGMENT_PARAMS,
                WITH_DUPLICATES,
                Param("only_bad_syntax", "Only malformed addresses.", True),
                Param("only_duplicates", "Only repeated addresses.", True),
                *(
                    Param(name, f"Whether to append the column `{name}`.", name != "email_status")
                    for name in COLUMNS
                ),
                Param(
                    "binary_operators_type",
                    "How switches are written.",
                    "BIN_Y_N",
                    choices=tuple(BOOLEANS),
                ),
                Param(
                    "line_feed_type",
                    "How lines end.",
                    "LINEFEED_0D0A",
                    choices=tuple(LINE_ENDS),
                ),
            ),
            BODIES,
        ),
        "jobs/delete": Description("Delete a job.", (JOB_ID,), BODIES),
    }
)
"""By the path below the version."""
