"""One address, and the server's version."""

from __future__ import annotations

from collections.abc import Callable

from adapters.contract.operations import Acknowledge, Verify
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import WireReply, WireRequest, json_reply
from adapters.reacher.body import check_settings, read_object, required
from adapters.reacher.problems import REFUSED_BY_HANDLER
from adapters.reacher.release import View
from adapters.reacher.result import result_object
from engine.model import Verification

VERSION = "0.11.7"
"""The release that this dialect follows."""


def read_check(request: WireRequest) -> Verify:
    """A caller's proxy, sender and time-outs are checked, as the server's parser does, and ignored:
    the server ignores most without a proxy, and we never dial through a caller's proxy."""
    members = read_object(request)
    check_settings(request, members)
    email = required(request, members, "to_email", str)
    if not email:
        text = "to_email field is required."
        raise Problem(ProblemKind.INVALID, text, "to_email", word=REFUSED_BY_HANDLER)
    return Verify(email=email)


def check_writer(view: View) -> Callable[[Verify, Verification], WireReply]:
    def write_check(_: Verify, v: Verification) -> WireReply:
        return json_reply(result_object(view(v)))

    return write_check


def read_version(_: WireRequest) -> Acknowledge:
    return Acknowledge()


def write_version(_: Acknowledge, __: None) -> WireReply:
    return json_reply({"version": VERSION})
