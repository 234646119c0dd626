"""One address: its verification and a guess at its owner; the health check."""

from __future__ import annotations

from dataclasses import dataclass

from adapters.contract.operations import Acknowledge, GuessPerson, PersonGuess, Verify
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import WireReply, WireRequest, json_reply
from adapters.dataoorts.words import CAUSES, FREE_PROVIDERS, cause_word, is_generic, score
from adapters.kit.words import parse_bool
from engine.model import Person, Verdict, Verification

# -- reading ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyAndPredict(Verify):
    """A verification that may also show a guess at the owner."""

    guess_person: bool = False


def read_verify(request: WireRequest) -> VerifyAndPredict:
    return VerifyAndPredict(email=_parse_email(request), guess_person=_parse_info(request))


def read_predict(request: WireRequest) -> GuessPerson:
    return GuessPerson(email=_parse_email(request))


def read_health(_: WireRequest) -> Acknowledge:
    return Acknowledge()


def _parse_email(request: WireRequest) -> str:
    """Any text that is not blank; a malformed address becomes a verdict (`invalid_format`)."""
    email = request.json_object.get("email")
    if not isinstance(email, str) or not email.strip():
        raise Problem(ProblemKind.INVALID, field="email")
    return email.strip()


def _parse_info(request: WireRequest) -> bool:
    """Off by default: the smaller reply has the complete verification."""
    value = parse_bool(request.json_object.get("info", False))
    if value is None:
        raise Problem(ProblemKind.INVALID, field="info")
    return value


# -- writing ------------------------------------------------------------------------------


def write_verify(op: VerifyAndPredict, v: Verification) -> WireReply:
    body: dict[str, object] = {"info": verification_json(v)}
    if op.guess_person:
        body["user_info"] = _user_info(v.address.local, v.evidence.person)
    return json_reply(body, sort_keys=True)


def write_predict(_: GuessPerson, guess: PersonGuess) -> WireReply:
    return json_reply({"user_info": _user_info(guess.user, guess.person)}, sort_keys=True)


def write_health(_: Acknowledge, __: None) -> WireReply:
    return json_reply({"status": "All Services Operational"})


def verification_json(v: Verification) -> dict[str, object]:
    word = cause_word(v)
    cause = CAUSES[word]
    best = v.evidence.mx[0].host if v.evidence.mx else v.evidence.mx_host
    provider = v.evidence.provider if v.evidence.free else None
    return {
        "domain": v.address.domain_as_written,
        "email": v.address.raw,
        "email_avatar": v.evidence.avatar,
        "is_disposable": v.evidence.disposable,
        "is_free": v.evidence.free,
        "isv_domain": cause.isv_domain,
        "isv_format": cause.isv_format,
        "isv_mx": cause.isv_mx,
        # a list that names the address; lists that name us show nothing about it
        "isv_noblock": v.evidence.spamtrap is not True,
        # false makes clients report a catch-all with any result: not for a name that an
        # otherwise catch-all domain refused
        "isv_nocatchall": not (
            word == "catch_all"
            or (v.evidence.catch_all is True and v.verdict is not Verdict.UNDELIVERABLE)
        ),
        "isv_nogeneric": not is_generic(v),
        "mx_record": best or "",
        "provider": FREE_PROVIDERS.get(provider or ""),
        "result_cause": word,
        "test_result": cause.test_result,
        "test_score": score(v),
    }


def _user_info(user: str, person: Person | None) -> dict[str, object]:
    name = person.full if person else None
    accuracy = round(person.accuracy, 2) if person and name else 0.0
    return {"accuracy": accuracy, "name": name, "username": user}
