"""The endpoints in words, and what clients send to them."""

from __future__ import annotations

from adapters.contract.description import (
    ADDRESS,
    EXAMPLE_LIST,
    MULTIPART,
    Description,
    Param,
    Place,
)
from adapters.validto.bulk import RESULT_WORDS
from adapters.validto.single import DEFAULT_WAIT_MS, MAX_WAIT_MS, MIN_WAIT_MS

EXAMPLE_ID = "e7sb72fbi3a93s4aitfayvardxa3qiqvffxy"
JOB_ID = Param("job_id", "The id of the list.", EXAMPLE_ID, required=True, place=Place.QUERY)
JOB_ID_IN_PATH = Param("job_id", "The id of the list.", EXAMPLE_ID, place=Place.PATH)
ACTION = Param("action", "What to do.", "start", choices=("start",))

VERIFY = Description(
    "Verify one address.",
    (
        ADDRESS,
        Param(
            "timeout",
            f"Milliseconds to wait for a result, {DEFAULT_WAIT_MS:,} unless given.",
            60_000,
            minimum=MIN_WAIT_MS,
            maximum=MAX_WAIT_MS,
        ),
    ),
)
BULK = Description(
    "Upload a list, a CSV file.",
    (
        Param("local_file", "The file.", EXAMPLE_LIST, required=True, place=Place.FILE),
        Param("auto_verify", "Whether to start at once.", True),
    ),
    (MULTIPART,),
)
INFO = Description("Show the credits.")
DOWNLOAD = Description(
    "Fetch the results of a completed list as a CSV file.",
    (
        Param("jobId", "The id of the list.", EXAMPLE_ID, required=True, place=Place.QUERY),
        Param("filterResult", f"Only these results: {', '.join(RESULT_WORDS)}.", ["deliverable"]),
    ),
)


def start(job_id: Param) -> Description:
    return Description("Start the verification of a list.", (job_id, ACTION))


def status(job_id: Param) -> Description:
    return Description("Show a list.", (job_id,))


def delete(job_id: Param) -> Description:
    return Description("Delete a list.", (job_id,))
