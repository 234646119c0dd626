"""Samples: equal for equal questions, and magic addresses."""

import httpx
import pytest

from adapters.contract.dialect import Dialect
from adapters.contract.upstream import UpstreamQuery, UpstreamReply, UpstreamResult
from adapters.registry import DIALECTS
from engine.address.syntax import parse_address
from engine.model import Checks, Verdict
from engine.smtp.mail_domains import HOSTS
from engine.smtp.providers import provider_of
from gateway.sandbox.magic import MAGIC_SAMPLES
from gateway.sandbox.samples import RANDOM_SEED, Samples
from tests.dialects import ALL as ALL_DIALECTS
from tests.dialects import FACTS, send, verify_request

ALL = Checks()

PINNED = {
    # samples stay the same across releases: a change needs a line in the changelog
    ("emailable", "john.smith@gmail.com"): (Verdict.RISKY, 0.489),
    ("validto", "john.smith@gmail.com"): (Verdict.DELIVERABLE, 0.238),
    ("whoisxml", "ada@example.org"): (Verdict.UNKNOWN, 0.298),
    ("dataoorts", "ada@example.org"): (Verdict.UNDELIVERABLE, 0.37),
    ("emailable", "grace@example.org"): (Verdict.UNDELIVERABLE, 0.377),
}


@pytest.mark.parametrize(("question", "sample"), PINNED.items())
def test_samples_stay_the_same_across_releases(
    question: tuple[str, str], sample: tuple[Verdict, float]
) -> None:
    found = Samples("veriplex").draw(*question, ALL)
    assert (found.verdict, found.duration_s) == sample


def test_a_sample_is_a_function_of_seed_dialect_and_address() -> None:
    addresses = [f"user{n}@example.org" for n in range(200)]

    def drawn(seed: str, dialect: str) -> list[Verdict]:
        samples = Samples(seed)
        return [samples.draw(dialect, address, ALL).verdict for address in addresses]

    assert drawn("a", "emailable") == drawn("a", "emailable")
    assert drawn("a", "emailable") != drawn("b", "emailable")
    assert drawn("a", "emailable") != drawn("a", "validto")
    assert set(drawn("a", "emailable")) == set(Verdict)


def test_the_random_seed_draws_new_samples() -> None:
    samples = Samples(RANDOM_SEED)
    drawn = {samples.draw("emailable", "ada@example.org", ALL).verdict for _ in range(200)}
    assert drawn == set(Verdict)


@pytest.mark.parametrize("local", MAGIC_SAMPLES)
@pytest.mark.parametrize("dialect", [dialect.name for dialect in DIALECTS])
def test_magic_addresses_are_the_same_in_every_dialect(dialect: str, local: str) -> None:
    samples = Samples("veriplex")
    for email in (f"{local}@example.com", f"{local.upper()}+7@EXAMPLE.com"):
        found = samples.draw(dialect, email, ALL)
        assert (found.verdict, found.reason) == (
            MAGIC_SAMPLES[local].verdict,
            MAGIC_SAMPLES[local].reason,
        )
        for name, value in MAGIC_SAMPLES[local].evidence_fields.items():
            assert getattr(found.evidence, name) == value


def test_without_magic_addresses_no_local_part_is_special() -> None:
    samples = Samples("veriplex")
    drawn = {
        samples.draw(
            "emailable", f"undeliverable+{n}@example.com", ALL, magic_addresses=False
        ).verdict
        for n in range(100)
    }
    assert drawn == set(Verdict)


def test_other_domains_have_no_magic_addresses() -> None:
    drawn = {
        Samples("veriplex").draw("emailable", f"undeliverable+{n}@example.org", ALL).verdict
        for n in range(100)
    }
    assert drawn == set(Verdict)


@pytest.mark.parametrize(
    ("asked", "local", "shown"),
    [
        (False, "deliverable", None),
        (True, "deliverable", False),
        (False, "accept-all", True),
        (True, "accept-all", True),
        (True, "timeout", None),
    ],
)
def test_catch_all_is_shown_if_requested(asked: bool, local: str, shown: bool | None) -> None:
    checks = Checks(catch_all=asked)
    found = Samples("veriplex").draw("emailable", f"{local}@example.com", checks)
    assert found.evidence.catch_all is shown


def test_samples_do_not_show_catch_all_unasked() -> None:
    samples = Samples("veriplex")
    unasked = Checks(catch_all=False)
    shown = {
        samples.draw("emailable", f"u{n}@b.org", unasked).evidence.catch_all for n in range(100)
    }
    assert shown == {None}


def test_fields_that_follow_from_the_address_are_right() -> None:
    found = Samples("veriplex").draw("emailable", "johndoe+tag@emailable.com", ALL)
    assert (found.address.user, found.address.tag) == ("johndoe", "tag")
    assert found.address.domain == "emailable.com"
    person = found.evidence.person
    assert person is not None
    assert (person.first, person.last, person.gender) == ("John", "Doe", "male")


@pytest.mark.parametrize(
    ("domain", "host", "provider"),
    [
        ("gmail.com", "gmail-smtp-in.l.google.com", "google"),
        ("google.com", "smtp.google.com", "google"),
        ("outlook.com", "outlook-com.olc.protection.outlook.com", "microsoft"),
        ("yahoo.com", "mta5.am0.yahoodns.net", "yahoo"),
        ("icloud.com", "mx01.mail.icloud.com", "apple"),
        ("example.org", "mx.example.org", None),
    ],
)
def test_the_provider_follows_from_the_domain(domain: str, host: str, provider: str | None) -> None:
    found = Samples("veriplex").draw("emailable", f"ada@{domain}", ALL).evidence
    assert (found.mx[0].host, found.provider) == (host, provider)
    assert found.smtp is None or found.smtp.host == host


@pytest.mark.parametrize("domain", HOSTS)
def test_the_hosts_of_a_known_domain_are_those_of_a_known_provider(domain: str) -> None:
    providers = {provider_of(host) for host in HOSTS[domain]}
    assert len(providers) == 1
    assert None not in providers


@pytest.mark.parametrize("dialect", ALL_DIALECTS, ids=lambda d: d.name)
async def test_clients_see_the_provider(client: httpx.AsyncClient, dialect: Dialect) -> None:
    """In every dialect that has a word for it, and in the native API."""
    facts = FACTS[dialect.name].never_says
    if "provider" not in facts and dialect.upstream is not None:
        request = verify_request(dialect, dialect.sandbox_key, "ada.lovelace@gmail.com")
        reply = await send(client, dialect, request)
        read = UpstreamReply(reply.status_code, {}, reply.content, 0.0)
        query = UpstreamQuery(parse_address("ada.lovelace@gmail.com"))
        result = dialect.upstream.verify.parse(read, query)
        assert isinstance(result, UpstreamResult)
        assert result.evidence.provider == "google"
    native = await client.get(
        "/veriplex/v1/verify?email=ada.lovelace@gmail.com",
        headers={"Authorization": f"Bearer {dialect.sandbox_key}"},
    )
    assert native.json()["evidence"]["provider"] == "google"


def test_malformed_addresses_are_undeliverable() -> None:
    found = Samples("veriplex").draw("emailable", "no at sign", ALL)
    assert (found.verdict, found.reason) == ("undeliverable", "invalid_email")
