"""What is added to an upstream's answer where it cannot tell, and what never is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from engine.model import Dns, Evidence, MxHost, Reason, Verdict, Verification
from gateway.app import open_engine
from gateway.settings import Settings
from gateway.upstreams.routing import completion
from tests.dialects import FACTS, NAMES
from tests.fakes.dns import SERVFAIL, SILENT, FakeDns, Zone, fake_dns
from tests.fakes.vendor import Vendor, vendor
from tests.gateway.upstreams.conftest import BY_NAME, Front, Local, front, settings_for

ZONE: Zone = {
    "firm.test": {
        "MX": ["5 aspmx.l.google.com.", "10 alt1.aspmx.l.google.com."],
        "TXT": ['"v=spf1 -all"'],
    },
    "_dmarc.firm.test": {"TXT": ['"v=DMARC1; p=reject"']},
    "aspmx.l.google.com": {"A": ["10.0.0.1"]},
    "alt1.aspmx.l.google.com": {"A": ["10.0.0.1"]},
    "gmail.com": {"MX": ["5 gmail-smtp-in.l.google.com."]},
    "broken.test": SERVFAIL,
    "silent.test": SILENT,
    "_dmarc.silent.test": SILENT,
    "_dmarc.broken.test": SERVFAIL,
}
NOTHING = Evidence()
GOOGLE = ["aspmx.l.google.com", "alt1.aspmx.l.google.com"]


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def made(
    stack: AsyncExitStack, name: str, complete: str, *, local: Local | None = None, **options: Any
) -> tuple[Vendor, FakeDns, Front]:
    """A server in front of one vendor, whose engine asks a DNS server on loopback."""
    one = await stack.enter_async_context(vendor(BY_NAME[name], evidence=NOTHING))
    dns = await stack.enter_async_context(fake_dns(ZONE))
    routing = {"complete": complete, **options.pop("routing", {})}
    engine = {"dns_servers": [dns.address], "command_timeout_s": 30, "smtp_port": 1}
    settings = settings_for([one], routing=routing, engine=engine, **options)
    verifier: Any = local or await stack.enter_async_context(open_engine(settings))
    return one, dns, await stack.enter_async_context(front(settings, verifier))


async def verify_natively(here: Front, email: str) -> dict[str, Any]:
    reply = await here.ask(email)
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


@pytest.mark.parametrize("name", NAMES)
async def test_what_a_vendor_cannot_say_is_added(stack: AsyncExitStack, name: str) -> None:
    _, _, here = await made(stack, name, "dns")
    role = (await verify_natively(here, "sales@firm.test"))["evidence"]
    person = (await verify_natively(here, "ann.smith@gmail.com"))["evidence"]
    no_reply = (await verify_natively(here, "noreply@firm.test"))["evidence"]
    typo = (await verify_natively(here, "ann.smith@gmial.com"))["evidence"]
    found = {
        "role": role["role"],
        "mx": [mx["host"] for mx in role["mx"]] == GOOGLE and role["dns"] == "mx",
        "provider": role["provider"] == "google",
        "spf": role["spf"],
        "dmarc": role["dmarc"],
        "free": person["free"],
        "person": person["person"] and person["person"]["first"] == "Ann",
        "no_reply": no_reply["no_reply"],
        "did_you_mean": typo["did_you_mean"] == "ann.smith@gmail.com",
    }
    assert {fact for fact in FACTS[name].never_says if not found[fact]} == set()


@pytest.mark.parametrize(
    ("complete", "role", "spf"), [("none", False, None), ("lists", True, None), ("dns", True, True)]
)
async def test_the_settings_say_how_much(
    stack: AsyncExitStack, complete: str, role: bool, spf: bool | None
) -> None:
    _, dns, here = await made(stack, "whoisxml", complete)
    evidence = (await verify_natively(here, "sales@firm.test"))["evidence"]
    assert (evidence["role"], evidence["spf"]) == (role, spf)
    assert bool(dns.queries) == (complete == "dns")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("verdict", "reason"),
    [
        (Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL),
        (Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL),
        (Verdict.UNDELIVERABLE, Reason.INVALID_DOMAIN),
        (Verdict.RISKY, Reason.CATCH_ALL),
        (Verdict.UNKNOWN, Reason.TIMEOUT),
    ],
)
async def test_the_verdict_its_reason_and_the_score_stay(
    stack: AsyncExitStack, name: str, verdict: Verdict, reason: Reason
) -> None:
    """Of addresses of which our lists and DNS would say something else altogether."""
    answers = []
    for complete in ("none", "dns"):
        one, _, here = await made(stack, name, complete)
        one.says = lambda _: (verdict, reason)
        for email in ("noreply@mailinator.com", "sales@nowhere.test", "sales@firm.test"):
            answer = await verify_natively(here, email)
            answers.append((email, answer["verdict"], answer["reason"], answer["score"]))
    half = len(answers) // 2
    assert answers[:half] == answers[half:]


@pytest.mark.parametrize(
    ("name", "email", "evidence", "stays"),
    [
        # its no is a no, though our lists know better
        ("emailable", "sales@gmail.com", NOTHING, {"free": False, "role": False}),
        ("emailable", "ann.smith@firm.test", NOTHING, {"person": None}),
        ("whoisxml", "a@mailinator.com", NOTHING, {"disposable": False}),
        ("validto", "sales@firm.test", NOTHING, {"role": False}),
        ("dataoorts", "a@gmail.com", NOTHING, {"free": False}),
        ("generic", "a@mailinator.com", NOTHING, {"disposable": False}),
        # its mail hosts, its provider
        (
            "emailable",
            "a@firm.test",
            Evidence(dns=Dns.MX, mx=(MxHost("mx.theirs.test", 0),), provider="zoho"),
            {"mx": [{"host": "mx.theirs.test", "preference": 0}], "provider": "zoho"},
        ),
        # a domain that takes no mail, RFC 7505
        ("whoisxml", "a@firm.test", Evidence(dns=Dns.NULL_MX), {"dns": "null_mx", "mx": []}),
    ],
)
async def test_what_it_did_say_is_never_overwritten(
    stack: AsyncExitStack, name: str, email: str, evidence: Evidence, stays: dict[str, Any]
) -> None:
    one, _, here = await made(stack, name, "dns")
    one.evidence = evidence
    found = (await verify_natively(here, email))["evidence"]
    assert {fact: found[fact] for fact in stays} == stays


@pytest.mark.parametrize(
    ("says", "email"),
    [
        ((Verdict.UNDELIVERABLE, Reason.INVALID_DOMAIN), "a@firm.test"),
        ((Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL), "a@nowhere.test"),
        ((Verdict.RISKY, Reason.CATCH_ALL), "a@nowhere.test"),
        ((Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL), "a@broken.test"),
    ],
)
async def test_an_answer_is_not_made_to_contradict_itself(
    stack: AsyncExitStack, says: tuple[Verdict, Reason], email: str
) -> None:
    one, _, here = await made(stack, "emailable", "dns")
    one.says = lambda _: says
    evidence = (await verify_natively(here, email))["evidence"]
    assert (evidence["dns"], evidence["mx"]) == ("not_checked", [])


async def test_dns_that_does_not_answer_delays_by_its_grace_at_most(stack: AsyncExitStack) -> None:
    _, dns, here = await made(stack, "whoisxml", "dns")
    began = asyncio.get_running_loop().time()
    answer = await verify_natively(here, "sales@silent.test")
    took_s = asyncio.get_running_loop().time() - began
    assert completion.DNS_GRACE_S * 0.9 < took_s < completion.DNS_GRACE_S + 0.5
    assert dns.queries
    assert answer["verdict"] == "deliverable"
    assert answer["evidence"]["role"] is True, "the lists are not waited for"
    assert answer["evidence"]["spf"] is None


async def test_nor_beyond_the_deadline(stack: AsyncExitStack) -> None:
    _, _, here = await made(stack, "whoisxml", "dns", routing={"deadline_s": 0.3})
    began = asyncio.get_running_loop().time()
    assert (await verify_natively(here, "sales@silent.test"))["verdict"] == "deliverable"
    assert asyncio.get_running_loop().time() - began < 0.8


async def test_dns_that_fails_breaks_nothing(stack: AsyncExitStack) -> None:
    _, _, here = await made(stack, "whoisxml", "dns")
    answer = await verify_natively(here, "sales@broken.test")
    assert (answer["verdict"], answer["evidence"]["spf"]) == ("deliverable", None)


async def test_nor_does_a_bug_in_it(
    stack: AsyncExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Local):
        async def verify(self, *_: object, **__: object) -> Verification:
            raise RuntimeError("a bug, on purpose")

    _, _, here = await made(stack, "whoisxml", "dns", local=Broken())
    answer = await verify_natively(here, "sales@firm.test")
    assert (answer["verdict"], answer["evidence"]["role"]) == ("deliverable", True)
    assert "a bug, on purpose" in caplog.text


async def test_dns_is_not_asked_where_the_client_does_not_want_it(stack: AsyncExitStack) -> None:
    _, dns, here = await made(stack, "whoisxml", "dns")
    reply = await here.verify("whoisxml", "a@firm.test", validateDNS="0", validateSMTP="0")
    assert reply.status_code == 200
    assert not dns.queries


async def test_an_address_that_is_malformed_is_looked_up_nowhere(stack: AsyncExitStack) -> None:
    for order in (["v0"], ["local", "v0"], ["v0", "local"]):
        one, dns, here = await made(stack, "generic", "dns", routing={"order": order})
        answer = await verify_natively(here, "no..address@firm.test")
        assert (answer["verdict"], answer["reason"]) == ("undeliverable", "invalid_email")
        assert (answer["source"], len(dns.queries), len(one.asked)) == ("local", 0, 0)


@pytest.mark.parametrize("strategy", ["failover", "waterfall"])
async def test_the_engine_answers_for_itself(stack: AsyncExitStack, strategy: str) -> None:
    """Nothing is looked up beside it."""
    local = Local(Verdict.DELIVERABLE)
    routing = {"order": ["local", "v0"], "strategy": strategy}
    _, _, here = await made(stack, "generic", "dns", local=local, routing=routing)
    answer = await verify_natively(here, "sales@firm.test")
    assert (answer["source"], answer["evidence"]["role"]) == ("local", False)
    assert local.times == 1


async def test_what_the_engine_saw_in_its_turn_is_not_looked_up_again(
    stack: AsyncExitStack,
) -> None:
    """It could not reach the mail host; the vendor could, and has no word for the rest."""
    routing = {"order": ["local", "v0"]}
    _, dns, here = await made(stack, "validto", "dns", routing=routing)
    answer = await verify_natively(here, "sales@firm.test")
    assert (answer["source"], answer["verdict"]) == ("v0", "deliverable")
    assert [mx["host"] for mx in answer["evidence"]["mx"]] == GOOGLE
    assert answer["evidence"]["dmarc"] is True
    questions = [(name, kind) for name, kind, _ in dns.queries]
    assert len(questions) == len(set(questions))


async def test_lists_are_the_default() -> None:
    assert Settings().routing.complete == "lists"
