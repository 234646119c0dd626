"""The strategy `measured`: it finds the best source, and is never far behind failover."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, cast

import pytest

from engine.address.syntax import parse_address
from engine.model import Reason, Verdict
from gateway.outcomes.answers import SourceAnswer, open_answers
from gateway.outcomes.records import OutcomeRecords
from gateway.outcomes.terms import MailOutcome, Outcome
from gateway.settings import Settings
from gateway.settings.checks import check_settings
from gateway.store import Store, open_store
from gateway.upstreams.routing.evidence import Evidence, EvidenceReader, SourceEvidence
from gateway.upstreams.routing.measured import MeasuredOrder, MistakePrices
from gateway.upstreams.source.source import Source
from tests.fakes.vendor import Mood, Vendor, vendor
from tests.gateway.upstreams.conftest import BY_NAME, Front, front, settings_for
from tests.gateway.upstreams.test_vendor_jobs import bench
from tests.gateway.upstreams.test_vendor_jobs import vendor as list_vendor

D, U, R, N = Verdict.DELIVERABLE, Verdict.UNDELIVERABLE, Verdict.RISKY, Verdict.UNKNOWN
PRICES = MistakePrices(wrong_deliverable=1.0, wrong_undeliverable=1.0, unknown=0.3)
SHARE = 0.05
ADDRESS = parse_address("user@example.com")
AT = 1_780_000_000.0


@dataclass(frozen=True, eq=False)
class Named:
    """As much of a source as the order needs."""

    name: str
    price: int = 0


def sources(*names: str) -> list[Source]:
    return [cast(Source, Named(name)) for name in names]


def known(judged: int, wrong: int, undecided: int = 0) -> SourceEvidence:
    """Of verdicts deliverable alone."""
    return SourceEvidence(
        Counter({D: judged, N: undecided}), Counter({D: judged}), Counter({D: wrong})
    )


def chosen(evidence: Mapping[str, SourceEvidence], names: Sequence[str] = ("a", "b")) -> Any:
    measured = MeasuredOrder(lambda: {"": evidence}, PRICES, share=0.0)
    choice = measured.order(sources(*names), ADDRESS, random.Random(1))
    return [source.name for source in choice.order], choice.reason


def test_the_reason_has_every_figure_with_its_count_and_interval() -> None:
    order, reason = chosen({"a": known(980, 21), "b": known(1204, 10)})
    assert order == ["b", "a"]
    assert reason == "measured: 0.8 % of 1,204 (0.5 to 1.5), next best 2.1 % of 980 (1.4 to 3.3)"


@pytest.mark.parametrize(
    ("evidence", "names", "order", "words"),
    [
        ({}, ("a", "b"), "ab", "0 outcomes of a, too few: failover"),
        ({"b": known(900, 0)}, ("a", "b"), "ab", "0 outcomes of a, too few"),
        ({"a": known(900, 450)}, ("a", "b"), "ab", "too few outcomes of the other sources"),
        ({"a": known(900, 450), "b": known(29, 0)}, ("a", "b"), "ab", "of the other sources"),
        ({"a": known(40, 3), "b": known(40, 1)}, ("a", "b"), "ab", "not surely better"),
        ({"a": known(400, 8), "b": known(400, 40)}, ("a", "b"), "ab", "next best 10.0 %"),
        # names of other settings are no sources of the route
        ({"old": known(900, 0), "a": known(900, 90)}, ("a", "new"), "a new", "too few"),
        ({"a": known(900, 450)}, ("a",), "a", ""),
        ({"a": known(400, 80), "b": known(400, 40), "c": known(400, 4)}, "abc", "cab", "1.0 %"),
    ],
)
def test_with_too_little_evidence_it_is_failover(
    evidence: Mapping[str, SourceEvidence], names: Sequence[str], order: str, words: str
) -> None:
    wanted = order.split() if " " in order else list(order)
    found, reason = chosen(evidence, names)
    assert found == wanted
    assert words in reason


def test_unknowns_and_prices_count() -> None:
    order, reason = chosen({"a": known(500, 10, undecided=500), "b": known(500, 15, undecided=5)})
    assert order == ["b", "a"]
    assert "undecided 1.0 % of 505" in reason
    cheap, dear = cast(Source, Named("a")), cast(Source, Named("b", price=50_000))
    evidence = {"": {"a": known(1000, 40), "b": known(1000, 5)}}
    measured = MeasuredOrder(lambda: evidence, PRICES, share=0.0)
    assert measured.order([cheap, dear], ADDRESS, random.Random(1)).order[0] is cheap


def test_each_provider_has_a_source_of_its_own() -> None:
    good, bad = known(500, 5), known(500, 100)
    evidence = {"google": {"a": bad, "b": good}, "": {"a": good, "b": bad}}
    measured = MeasuredOrder(lambda: evidence, PRICES, share=0.0)

    def first(email: str) -> str:
        order = measured.order(sources("a", "b"), parse_address(email), random.Random(1)).order
        return order[0].name

    assert (first("u@gmail.com"), first("u@example.com"), first("u@yahoo.com")) == ("b", "a", "a")


def test_a_seed_makes_it_repeatable() -> None:
    evidence = {"": {"a": known(50, 5), "b": known(3, 0)}}

    def choices(seed: str) -> list[str]:
        measured = MeasuredOrder(lambda: evidence, PRICES, share=0.5, seed=seed)
        rng = random.Random()
        addresses = [parse_address(f"user{n}@example.com") for n in range(100)]
        orders = [measured.order(sources("a", "b"), a, rng).order for a in addresses]
        return [order[0].name for order in orders]

    assert choices("7") == choices("7")
    assert choices("7") != choices("8")
    assert 10 < choices("7").count("b") < 60


# -- simulated vendors with known truth ----------------------------------------------------

Truth = Mapping[str, tuple[float, float, float]]
"""By source, how often it is wrong about good and about bad addresses, and how often unknown."""


@dataclass
class Simulated:
    """What became of a number of requests."""

    cost: float
    failover_cost: float
    """Expected, if the first had been asked each time."""
    asked_late: Counter[str]
    """In the last quarter."""
    worst: float


def expected_cost(rates: tuple[float, float, float], bad: float) -> float:
    wrong_good, wrong_bad, unknown = rates
    return unknown * PRICES.unknown + (1 - unknown) * (wrong_good * (1 - bad) + wrong_bad * bad)


def simulate(truth: Truth, seed: int, requests: int = 6_000, bad: float = 0.2) -> Simulated:
    """Mail is sent whatever the verdict, and its outcome is known by the next reading."""
    rng = random.Random(seed)
    evidence: Evidence = {"": {name: SourceEvidence() for name in truth}}
    coming = {name: SourceEvidence() for name in truth}
    measured = MeasuredOrder(lambda: evidence, PRICES, share=SHARE)
    every, late, cost = sources(*truth), Counter[str](), 0.0
    for number in range(requests):
        if number % 100 == 0:
            evidence = {
                "": {
                    name: SourceEvidence(+each.answers, +each.judged, +each.wrong)
                    for name, each in coming.items()
                }
            }
        name = measured.order(every, ADDRESS, rng).order[0].name
        wrong_good, wrong_bad, unknown = truth[name]
        is_bad = rng.random() < bad
        if rng.random() < unknown:
            verdict, is_wrong = N, False
        else:
            is_wrong = rng.random() < (wrong_bad if is_bad else wrong_good)
            verdict = U if is_bad != is_wrong else D
        coming[name].answers[verdict] += 1
        if verdict is not N:
            coming[name].judged[verdict] += 1
            coming[name].wrong[verdict] += is_wrong
        cost += expected_cost(truth[name], bad)
        if number >= requests * 3 // 4:
            late[name] += 1
    costs = {name: expected_cost(rates, bad) for name, rates in truth.items()}
    return Simulated(cost, requests * costs[next(iter(truth))], late, max(costs.values()))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    "truth",
    [
        {"a": (0.10, 0.10, 0.02), "b": (0.01, 0.01, 0.02)},
        {"a": (0.08, 0.08, 0.02), "b": (0.12, 0.12, 0.02), "c": (0.01, 0.02, 0.01)},
        {"a": (0.02, 0.02, 0.60), "b": (0.03, 0.03, 0.02)},
    ],
)
def test_it_converges_to_the_best_source(truth: Truth, seed: int) -> None:
    best = min(truth, key=lambda name: expected_cost(truth[name], 0.2))
    found = simulate(truth, seed)
    assert found.asked_late[best] >= 0.9 * found.asked_late.total()
    assert found.cost < found.failover_cost


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    "truth",
    [
        {"a": (0.01, 0.01, 0.02), "b": (0.30, 0.30, 0.30)},
        {"a": (0.03, 0.03, 0.02), "b": (0.04, 0.04, 0.02), "c": (0.03, 0.03, 0.02)},
        {"a": (0.05, 0.05, 0.05), "b": (0.05, 0.05, 0.05)},
    ],
)
def test_it_is_worse_than_failover_by_the_share_at_most(truth: Truth, seed: int) -> None:
    found = simulate(truth, seed)
    requests = 6_000
    worst = found.worst * requests
    assert found.cost <= found.failover_cost + SHARE * (worst - found.failover_cost) + 0.01 * worst


# -- from the database ---------------------------------------------------------------------


@pytest.fixture
async def store(database_url: str) -> Any:
    async with open_store(database_url) as opened:
        yield opened


async def tell(store: Store, said: Mapping[str, Callable[[int], Verdict]], count: int) -> None:
    """Answers of sources about addresses, of which every tenth bounced."""
    answers = await open_answers(store)
    records = OutcomeRecords(store, answers)
    addresses = [parse_address(f"user{n}@example.com") for n in range(count)]
    rows = [
        answers.row(
            answers.digest(address),
            name,
            SourceAnswer(verdict(n), Reason.ACCEPTED_EMAIL, 90, 10, 0, AT),
            "other",
        )
        for name, verdict in said.items()
        for n, address in enumerate(addresses)
    ]
    await answers.add_rows(sorted(rows, key=lambda row: (row["address"], row["source"])))
    outcomes = [
        MailOutcome(a, Outcome.HARD_BOUNCE if n % 10 == 0 else Outcome.DELIVERED, AT + 60)
        for n, a in enumerate(addresses)
    ]
    await records.add(outcomes, "api")


SAID = {"v0": lambda _: D, "v1": lambda n: U if n % 10 == 0 else D, "v2": lambda n: N}


async def test_the_evidence_is_outcomes_joined_with_answers(store: Store) -> None:
    await tell(store, SAID, 100)
    reader = EvidenceReader(OutcomeRecords(store, await open_answers(store)))
    await reader.read()
    for provider in ("", "other"):
        found = reader.current[provider]
        assert (found["v0"].wrong_share.hits, found["v0"].wrong_share.count) == (10, 100)
        assert (found["v1"].wrong_share.hits, found["v1"].wrong_share.count) == (0, 100)
        assert found["v2"].wrong_share.count == 0
        assert (found["v2"].undecided_share.hits, found["v2"].undecided_share.count) == (100, 100)


@pytest.fixture
async def stack() -> Any:
    async with AsyncExitStack() as stack:
        yield stack


async def opened(
    stack: AsyncExitStack, tmp_path: Any, **options: Any
) -> tuple[list[Vendor], Front]:
    """A server whose database knows that `v1` is better than `v0`."""
    url = f"sqlite:///{tmp_path}/veriplex.db"
    async with open_store(url) as store:
        await tell(store, {"v0": SAID["v0"], "v1": SAID["v1"]}, 400)
    vendors = [
        await stack.enter_async_context(vendor(BY_NAME[name])) for name in ("emailable", "kickbox")
    ]
    routing = {"strategy": "measured", "measured_share": 0.0, **options.pop("routing", {})}
    run_workers = options.pop("run_workers", True)
    settings = settings_for(vendors, routing=routing, storage={"url": url}, **options)
    return vendors, await stack.enter_async_context(front(settings, run_workers=run_workers))


async def test_the_attempts_explain_the_choice(stack: AsyncExitStack, tmp_path: Any) -> None:
    vendors, here = await opened(stack, tmp_path)
    (attempt,) = (await here.ask("new@example.com")).json()["attempts"]
    assert attempt["source"] == "v1"
    assert attempt["detail"].startswith(
        "measured: 0 % of 400 (0.0 to 1.0), next best 10.0 % of 400"
    )
    # a provider without evidence of its own
    (attempt,) = (await here.ask("new@yahoo.com")).json()["attempts"]
    assert (attempt["source"], attempt["detail"]) == (
        "v0",
        "measured: 0 outcomes of v0, too few: failover",
    )
    assert [sum(v.asked.values()) for v in vendors] == [1, 1]


async def test_it_fails_over_like_any_strategy(stack: AsyncExitStack, tmp_path: Any) -> None:
    vendors, here = await opened(stack, tmp_path)
    vendors[1].mood = Mood.ERROR
    attempts = (await here.ask("new@example.com")).json()["attempts"]
    assert [(a["source"], a["outcome"]) for a in attempts] == [
        ("v1", "server_error"),
        ("v0", "deliverable"),
    ]
    assert "measured: 0 % of 400" in attempts[0]["detail"]
    assert attempts[1]["detail"] == ""


SPLIT = [f"new{n}@{domain}" for n in range(10) for domain in ("example.com", "yahoo.com")]


async def test_addresses_of_batches_go_to_the_source_of_their_provider(
    stack: AsyncExitStack, tmp_path: Any
) -> None:
    vendors, here = await opened(stack, tmp_path, upstream={"bulk": False}, run_workers=False)
    headers = {"Authorization": f"Bearer {here.keys['emailable']}"}
    made = await here.client.post("/veriplex/v1/batches", json={"emails": SPLIT}, headers=headers)
    assert made.status_code < 300, made.text
    await here.services.batch_services.drain()
    assert [sum(v.asked.values()) for v in vendors] == [10, 10]


@pytest.mark.parametrize("is_lost", [False, True])
async def test_each_source_gets_its_addresses_as_one_list(tmp_path: Any, is_lost: bool) -> None:
    url = f"sqlite:///{tmp_path}/veriplex.db"
    async with open_store(url) as store:
        await tell(store, {"v0": SAID["v0"], "v1": SAID["v1"]}, 400)
    async with list_vendor("emailable") as first, list_vendor("kickbox") as second:
        routing = {"strategy": "measured", "measured_share": 0.0}
        if is_lost:
            first.lost = {"new0@yahoo.com"}
        settings = settings_for([first, second], routing=routing)
        async with bench(settings, url=url) as here:
            found = await here.verified(SPLIT)
        assert [len(emails) for emails in first.created] == [10]
        # an address that the first has lost is one of the second's list
        assert [len(emails) for emails in second.created] == [10 + is_lost]
    assert Counter(v.source for v in found.values()) == {"v0": 10 - is_lost, "v1": 10 + is_lost}


async def test_a_server_without_evidence_or_with_one_source(
    stack: AsyncExitStack,
) -> None:
    only = await stack.enter_async_context(vendor(BY_NAME["emailable"]))
    settings = settings_for([only], routing={"strategy": "measured"})
    here = await stack.enter_async_context(front(settings))
    (attempt,) = (await here.ask("user@example.com")).json()["attempts"]
    assert (attempt["source"], attempt["detail"]) == ("v0", "")


def test_a_seed_may_be_a_number() -> None:
    settings = Settings.model_validate({"routing": {"measured_seed": 7}})
    assert settings.routing.measured_seed == "7"


def test_it_needs_what_it_measures_by() -> None:
    settings = Settings.model_validate(
        {"routing": {"strategy": "measured"}, "outcomes": {"keep_days": 0}}
    )
    ((path, message),) = check_settings(settings, ())
    assert (path, "keep_days" in message) == (("routing", "strategy"), True)
