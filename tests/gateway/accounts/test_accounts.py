"""Accounts over real databases: keys, credits, allowances, limits, restarts and kills."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.contract.operations import UNLIMITED, Plan
from adapters.registry import DIALECTS
from gateway.accounts.accounts import (
    Accounts,
    AccountStatus,
    Caller,
    Charge,
    InsufficientCredits,
    RateLimitExceeded,
    Usage,
    open_accounts,
)
from gateway.accounts.errors import (
    AmbiguousKey,
    KeyTaken,
    NoSuchAccount,
    NoSuchKey,
    UnknownDialect,
    UnknownPlan,
)
from gateway.accounts.ledger import Ledger
from gateway.store import Store, StoreBusy, StoreConflict, open_store
from gateway.store.tables import milestones

NAMES = [dialect.name for dialect in DIALECTS]


class Clock:
    """Unix time that only a test moves."""

    def __init__(self, now: datetime) -> None:
        self.now = now.timestamp()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock(datetime(2026, 5, 31, 23, 59, 58, tzinfo=UTC))


@pytest.fixture
def url(database_url: str) -> str:
    return database_url


async def hold_accounts(connection: AsyncConnection) -> None:
    """Keep all others from writing; on SQLite any transaction that writes does."""
    if connection.dialect.name == "postgresql":
        await connection.execute(text("LOCK TABLE accounts, usage"))


@contextlib.asynccontextmanager
async def opened(url: str, clock: Clock, plan: str = "unlimited") -> AsyncIterator[Accounts]:
    """The accounts of one server; the clock also drives the cache of callers."""
    async with (
        open_store(url) as store,
        open_accounts(store, DIALECTS, plan=plan, clock=clock, monotonic=clock) as accounts,
    ):
        yield accounts


@pytest.fixture
async def accounts(url: str, clock: Clock) -> AsyncIterator[Accounts]:
    async with opened(url, clock) as accounts:
        yield accounts


async def caller_of(
    accounts: Accounts,
    dialect: str = "generic",
    *,
    plan: str | None = None,
    credits: int | None = None,
    test: bool = False,
) -> Caller:
    """The caller of a new key of a new account."""
    account_id = await accounts.create_account("a@example.com", plan=plan, credits=credits)
    created = await accounts.create_key(account_id, dialect, test=test)
    return await authenticated(accounts, dialect, created.key)


async def authenticated(accounts: Accounts, dialect: str, key: str) -> Caller:
    caller = await accounts.authenticate(dialect, key)
    assert caller is not None
    return caller


def contents_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


# -- keys --------------------------------------------------------------------------------


async def test_the_first_start_creates_one_account_with_two_keys_of_each_dialect(
    accounts: Accounts,
) -> None:
    assert await accounts.is_empty()
    created = await accounts.bootstrap()
    assert [(key.dialect, key.test) for key in created] == [
        (name, test) for name in NAMES for test in (False, True)
    ]
    for key in created:
        caller = await authenticated(accounts, key.dialect, key.key)
        assert (caller.test, caller.plan, caller.status) == (
            key.test,
            UNLIMITED,
            AccountStatus.ACTIVE,
        )
    assert await accounts.oldest_account_id() == created[0].account_id
    assert not await accounts.is_empty()
    assert await accounts.bootstrap() == ()


async def test_of_several_first_starts_at_once_one_creates_the_account(
    url: str, clock: Clock
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        opening = [stack.enter_async_context(opened(url, clock)) for _ in range(4)]
        servers = await asyncio.gather(*opening)
        created = await asyncio.gather(*(server.bootstrap() for server in servers))
        assert sorted(map(len, created)) == [0, 0, 0, 2 * len(NAMES)]
        assert len(await servers[0].list_keys()) == 2 * len(NAMES)


async def test_the_plan_of_new_accounts_is_a_setting(url: str, clock: Clock) -> None:
    async with opened(url, clock, plan="free") as accounts:
        created = await accounts.bootstrap()
        plans = {(await authenticated(accounts, key.dialect, key.key)).plan.name for key in created}
    assert plans == {"free"}
    with pytest.raises(UnknownPlan, match="no plan is named 'fre'; there are unlimited, "):
        async with opened(url, clock, plan="fre"):
            pass


async def test_accounts_keys_and_usage_survive_a_restart(url: str, clock: Clock) -> None:
    async with opened(url, clock) as accounts:
        limited = await accounts.create_account("l@example.com", credits=10)
        free = await accounts.create_account("f@example.com")
        keys = [
            await accounts.create_key(account, "generic", label="ci") for account in (limited, free)
        ]
        for key in keys:
            await accounts.charge(await authenticated(accounts, "generic", key.key), 4)
    async with opened(url, clock) as accounts:
        callers = [await authenticated(accounts, "generic", key.key) for key in keys]
        assert [c.owner_email for c in callers] == ["l@example.com", "f@example.com"]
        assert [c.key_label for c in callers] == ["ci", "ci"]
        assert [await accounts.usage(c) for c in callers] == [
            Usage("2026-05", 4, None, 6),
            Usage("2026-05", 4, None, None),
        ]


async def test_only_the_hash_of_a_key_is_stored(
    tmp_path: Path, url: str, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(url, clock) as accounts:
        created = await accounts.bootstrap()
        shown = repr(created) + repr(await accounts.list_keys())
        shown += repr([await accounts.authenticate(key.dialect, key.key) for key in created])
    written = contents_of(tmp_path).lower()
    for key in created:
        secret = key.key.rpartition("_")[2]
        assert secret.lower().encode() not in written
        assert secret[:-4].lower().encode() not in written
        assert secret not in shown + caplog.text


@pytest.mark.parametrize(
    "credential",
    ["", "x", "live_", "live_00000000000000000000", "\udcff", "\x00", "k" * 256, "k" * 1_000_000],
)
async def test_an_unknown_credential_has_no_caller(accounts: Accounts, credential: str) -> None:
    await accounts.bootstrap()
    for name in [*NAMES, "no-such-dialect"]:
        assert await accounts.authenticate(name, credential) is None


async def test_a_key_is_valid_in_its_own_dialect_alone_and_literally(accounts: Accounts) -> None:
    created = await accounts.bootstrap()
    for key in created:
        others = [name for name in NAMES if name != key.dialect]
        assert {await accounts.authenticate(name, key.key) for name in others} == {None}
        for wrong in (key.key[:-1], key.key + "0", key.key.swapcase(), f" {key.key}"):
            assert await accounts.authenticate(key.dialect, wrong) is None


async def test_a_chosen_key_may_exist_once_in_each_dialect(
    accounts: Accounts,
) -> None:
    account_id = await accounts.create_account()
    for name in NAMES[:2]:
        created = await accounts.create_key(account_id, name, test=True, key="chosen")
        assert (created.key, created.hint) == ("chosen", "…osen")
        assert (await authenticated(accounts, name, "chosen")).dialect == name
    with pytest.raises(KeyTaken, match=NAMES[0]):
        await accounts.create_key(account_id, NAMES[0], key="chosen")


async def test_a_published_test_key_needs_no_row(url: str, clock: Clock) -> None:
    published = Caller(
        account_id=0,
        key_id=0,
        dialect="generic",
        test=True,
        plan=UNLIMITED,
        status=AccountStatus.ACTIVE,
        owner_email="sandbox@example.com",
        key_label="published",
        has_credits=False,
    )
    async with (
        open_store(url) as store,
        open_accounts(
            store, DIALECTS, well_known={("generic", "ev_test"): published}, clock=clock
        ) as accounts,
    ):
        assert await accounts.authenticate("generic", "ev_test") == published
        assert await accounts.authenticate("emailable", "ev_test") is None
        assert (await accounts.charge(published, 5)).units == 0
        assert await accounts.usage(published) == Usage("2026-05", 0, None, None)


async def test_a_key_created_by_another_process_is_accepted_within_a_second(
    url: str, clock: Clock, accounts: Accounts
) -> None:
    async with opened(url, clock) as command:
        account_id = await command.create_account()
        assert await accounts.authenticate("generic", "chosen") is None
        await command.create_key(account_id, "generic", key="chosen")
    clock.now += 1
    await authenticated(accounts, "generic", "chosen")


async def test_a_key_revoked_by_another_process_is_refused_within_a_second(
    url: str, clock: Clock, accounts: Accounts
) -> None:
    created = (await accounts.bootstrap())[0]
    await authenticated(accounts, created.dialect, created.key)
    async with opened(url, clock) as command:
        revoked = await command.revoke_key(str(created.id))
        assert revoked.revoked_at == datetime.fromtimestamp(clock.now, UTC)
    clock.now += 1
    assert await accounts.authenticate(created.dialect, created.key) is None


async def test_a_key_revoked_here_is_refused_at_once(accounts: Accounts) -> None:
    created = (await accounts.bootstrap())[0]
    await authenticated(accounts, created.dialect, created.key)
    first = await accounts.revoke_key(created.key)
    assert await accounts.authenticate(created.dialect, created.key) is None
    assert await accounts.revoke_key(str(created.id)) == first  # a second time changes nothing


async def test_a_key_in_steady_use_is_cached(url: str, clock: Clock, accounts: Accounts) -> None:
    created = (await accounts.bootstrap())[0]
    async with opened(url, clock) as command:
        await authenticated(accounts, created.dialect, created.key)
        await command.revoke_key(created.key)
        clock.now += 0.5
        await authenticated(accounts, created.dialect, created.key)  # still cached


@pytest.mark.parametrize("reference", ["id", "hint", "end", "key"])
async def test_a_key_can_be_named_in_several_ways(accounts: Accounts, reference: str) -> None:
    created = await accounts.bootstrap()
    key = next(each for each in created if not each.key[-4:].isdigit())
    name = {"id": str(key.id), "hint": key.hint, "end": key.key[-4:], "key": key.key}[reference]
    assert (await accounts.revoke_key(name)).id == key.id


async def test_a_reference_to_none_or_several_keys_revokes_nothing(accounts: Accounts) -> None:
    account_id = await accounts.create_account()
    for n in range(2):
        await accounts.create_key(account_id, "generic", key=f"{n}-same")
    with pytest.raises(AmbiguousKey, match="'same' fits the keys 1, 2;") as caught:
        await accounts.revoke_key("same")
    assert caught.value.ids == (1, 2)
    for unknown in ("", "3", "unknown", "-same"):
        with pytest.raises(NoSuchKey):
            await accounts.revoke_key(unknown)
    assert [key.revoked_at for key in await accounts.list_keys()] == [None, None]
    await accounts.revoke_key("1")
    assert (await accounts.revoke_key("same")).id == 2  # the one that is not revoked


async def test_the_list_of_keys_shows_their_account(accounts: Accounts) -> None:
    account_id = await accounts.create_account("a@example.com", plan="free", credits=7)
    created = await accounts.create_key(account_id, "generic", test=True, label="ci")
    (key,) = await accounts.list_keys()
    assert (key.id, key.account_id, key.dialect) == (created.id, account_id, "generic")
    assert (key.test, key.label, key.hint) == (True, "ci", f"ev_test_…{created.key[-4:]}")
    assert (key.owner_email, key.plan, key.credits) == ("a@example.com", "free", 7)
    assert (key.status, key.revoked_at) == (AccountStatus.ACTIVE, None)


async def test_an_error_names_what_does_not_exist(accounts: Accounts) -> None:
    account_id = await accounts.create_account()
    with pytest.raises(UnknownDialect, match="no dialect is named 'generik'; there are emailable"):
        await accounts.create_key(account_id, "generik")
    with pytest.raises(NoSuchAccount, match="there is no account 99"):
        await accounts.create_key(99, "generic")
    with pytest.raises(NoSuchAccount):
        await accounts.set_credits(99, 1)
    with pytest.raises(UnknownPlan):
        await accounts.set_plan(account_id, "gold")
    with pytest.raises(ValueError, match="cannot be negative"):
        await accounts.create_account(credits=-1)


async def test_status_plan_and_credits_can_be_changed(accounts: Accounts) -> None:
    created = await accounts.create_key(await accounts.create_account(), "generic")
    await accounts.set_status(created.account_id, AccountStatus.SUSPENDED)
    assert (await authenticated(accounts, "generic", created.key)).status is AccountStatus.SUSPENDED
    await accounts.set_status(created.account_id, AccountStatus.UNCONFIRMED)
    await accounts.set_plan(created.account_id, "free")
    await accounts.set_credits(created.account_id, 5)
    caller = await authenticated(accounts, "generic", created.key)
    assert (caller.status, caller.plan.name) == (AccountStatus.UNCONFIRMED, "free")
    assert (await accounts.usage(caller)).credits_left == 5
    await accounts.set_credits(created.account_id, None)
    assert (await accounts.usage(caller)).credits_left == 100


# -- charges -----------------------------------------------------------------------------


async def test_a_charge_is_all_or_nothing(accounts: Accounts) -> None:
    caller = await caller_of(accounts, credits=10)
    assert await accounts.charge(caller, 7) == Charge(caller.account_id, "2026-05", 7)
    with pytest.raises(InsufficientCredits) as caught:
        await accounts.charge(caller, 4)
    assert (caught.value.used, caught.value.limit) == (7, 10)
    await accounts.charge(caller, 3)
    assert await accounts.usage(caller) == Usage("2026-05", 10, None, 0)


async def test_a_hard_cap_refuses_more_than_the_monthly_allowance(accounts: Accounts) -> None:
    caller = await caller_of(accounts, plan="free")
    await accounts.charge(caller, 98)
    with pytest.raises(InsufficientCredits) as caught:
        await accounts.charge(caller, 3)
    assert (caught.value.used, caught.value.limit) == (98, 100)
    await accounts.charge(caller, 2)
    assert await accounts.usage(caller) == Usage("2026-05", 100, 100, 0)


async def test_a_new_month_begins_at_midnight_utc(accounts: Accounts, clock: Clock) -> None:
    caller = await caller_of(accounts, plan="free")
    spent = await accounts.charge(caller, 100)
    clock.now += 1
    with pytest.raises(InsufficientCredits):
        await accounts.charge(caller, 1)
    clock.now += 1
    await accounts.charge(caller, 30)
    assert await accounts.usage(caller) == Usage("2026-06", 30, 100, 70)
    await accounts.refund(spent, 100)  # to the month of the charge
    assert await accounts.usage(caller) == Usage("2026-06", 30, 100, 70)
    clock.now -= 2
    assert await accounts.usage(caller) == Usage("2026-05", 0, 100, 100)


async def test_a_plan_without_hard_cap_goes_beyond_its_allowance(accounts: Accounts) -> None:
    caller = await caller_of(accounts, plan="starter")
    assert caller.plan.included is not None
    await accounts.charge(caller, caller.plan.included + 5)
    usage = await accounts.usage(caller)
    assert (usage.used, usage.included) == (caller.plan.included + 5, caller.plan.included)
    assert usage.credits_left is None


async def test_all_keys_of_an_account_share_its_allowance(
    accounts: Accounts,
) -> None:
    account_id = await accounts.create_account(plan="free")
    for name in ("generic", "emailable"):
        key = await accounts.create_key(account_id, name)
        await accounts.charge(await authenticated(accounts, name, key.key), 50)
    with pytest.raises(InsufficientCredits):
        await accounts.charge(await authenticated(accounts, name, key.key), 1)


async def test_a_refund_is_at_most_the_charge(accounts: Accounts) -> None:
    caller = await caller_of(accounts, credits=10)
    charge = await accounts.charge(caller, 6)
    await accounts.refund(charge, 2)
    assert (await accounts.usage(caller)).credits_left == 6
    await accounts.refund(charge, 1000)
    assert await accounts.usage(caller) == Usage("2026-05", 0, None, 10)


async def test_use_without_limit_is_counted_too(accounts: Accounts) -> None:
    caller = await caller_of(accounts)
    charges = [await accounts.charge(caller, 2) for _ in range(5)]
    await accounts.refund(charges[0], 1)
    assert await accounts.usage(caller) == Usage("2026-05", 9, None, None)


async def test_test_keys_are_never_charged_and_never_limited(accounts: Accounts) -> None:
    caller = await caller_of(accounts, "emailable", plan="emailable", credits=3, test=True)
    charge = await accounts.charge(caller, 1000)
    assert charge.units == 0
    await accounts.refund(charge, 1000)
    for _ in range(100):
        await accounts.enforce_rate_limit(caller, "verify")
    assert await accounts.usage(caller) == Usage("2026-05", 0, None, 3)


async def test_a_negative_charge_is_refused(accounts: Accounts) -> None:
    caller = await caller_of(accounts, credits=3)
    with pytest.raises(ValueError, match="cannot be negative"):
        await accounts.charge(caller, -1)
    assert (await accounts.charge(caller, 0)).units == 0


async def test_concurrent_charges_of_two_processes_spend_exactly_the_credits(
    url: str, clock: Clock
) -> None:
    async with opened(url, clock) as one, opened(url, clock) as two:
        caller = await caller_of(one, credits=1000)
        charges = [server.charge(caller, 1) for _ in range(1000) for server in (one, two)]
        outcomes = await asyncio.gather(*charges, return_exceptions=True)
        assert sum(isinstance(outcome, Charge) for outcome in outcomes) == 1000
        assert sum(isinstance(outcome, InsufficientCredits) for outcome in outcomes) == 1000
        for server in (one, two):
            assert await server.usage(caller) == Usage("2026-05", 1000, None, 0)


async def test_concurrent_charges_never_exceed_the_allowance(accounts: Accounts) -> None:
    caller = await caller_of(accounts, plan="free")
    amounts = [1, 7, 30, 2, 90, 11, 50, 3]
    charges = [accounts.charge(caller, n) for n in amounts]
    outcomes = await asyncio.gather(*charges, return_exceptions=True)
    charged = sum(outcome.units for outcome in outcomes if isinstance(outcome, Charge))
    assert charged == (await accounts.usage(caller)).used == 1 + 7 + 30 + 2 + 11 + 3


async def test_a_charge_is_committed_or_rolled_back_with_its_transaction(
    url: str, clock: Clock
) -> None:
    async with open_store(url) as store, open_accounts(store, DIALECTS, clock=clock) as accounts:
        caller = await caller_of(accounts, credits=10)

        async def submit(store: Store, name: str, units: int) -> Charge:
            now = datetime.fromtimestamp(clock.now, UTC)
            async with store.write() as connection:
                charge = await accounts.charge_in_transaction(connection, caller, units)
                row = insert(milestones).values(name=name, reached_at=now)
                await connection.execute(row)
                return charge

        assert (await submit(store, "batch", 6)).units == 6
        with pytest.raises(InsufficientCredits):
            await submit(store, "other", 5)
        with pytest.raises(StoreConflict):
            await submit(store, "batch", 4)  # the row exists already, so nothing is charged
        assert (await accounts.usage(caller)).credits_left == 4


async def test_counted_use_is_kept_while_the_database_is_busy(
    url: str, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        open_store(url, busy_timeout_s=0.02) as store,
        open_store(url) as other,
        open_accounts(store, DIALECTS, clock=clock) as accounts,
    ):
        caller = await caller_of(accounts)
        limited = await caller_of(accounts, credits=5)
        await accounts.charge(caller, 3)
        async with other.write() as connection:
            await hold_accounts(connection)
            if url.startswith("sqlite"):  # whose readers wait for no lock
                assert (await accounts.usage(caller)).used == 3
            with pytest.raises(StoreBusy):
                await accounts.charge(limited, 1)
            async with asyncio.timeout(10):
                while "usage.write_delayed" not in caplog.messages:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        assert (await accounts.usage(caller)).used == 3
        assert (await accounts.usage(limited)).credits_left == 5


async def test_use_is_exact_at_any_moment_of_its_writing(url: str, clock: Clock) -> None:
    async with open_store(url) as store, open_accounts(store, DIALECTS, clock=clock) as accounts:
        account_id = (await caller_of(accounts)).account_id
        ledger = Ledger(store, max_wait_s=10)
        for count in range(1, 60):
            ledger.book_later(account_id, "2026-05", 2)
            ledger.book_later(account_id, "2026-05", -1)
            assert (await ledger.balance(account_id, "2026-05")).used == count
            await asyncio.sleep(0.01)  # so that some are read while others are written
        await ledger.aclose()


async def test_use_that_cannot_be_written_at_the_end_is_logged(
    url: str, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        open_store(url, busy_timeout_s=0.02) as store,
        open_store(url) as other,
        open_accounts(store, DIALECTS, clock=clock) as accounts,
    ):
        await accounts.charge(await caller_of(accounts), 3)
        async with other.write() as connection:
            await hold_accounts(connection)
            await accounts.aclose()
    assert [record.getMessage() for record in caplog.records][-1] == "usage.lost"


async def test_a_cancelled_charge_does_not_affect_the_others(accounts: Accounts) -> None:
    caller = await caller_of(accounts, credits=100)
    charges = [asyncio.ensure_future(accounts.charge(caller, 1)) for _ in range(50)]
    await asyncio.wait(charges, return_when=asyncio.FIRST_COMPLETED)
    more = [asyncio.ensure_future(accounts.charge(caller, 1)) for _ in range(10)]
    for future in more[::2]:
        future.cancel()
    await asyncio.gather(*more, return_exceptions=True)
    assert (await accounts.usage(caller)).used == 55


CHILD = """
import asyncio, sys
from adapters.registry import DIALECTS
from gateway.accounts.accounts import open_accounts
from gateway.store import open_store

async def main(url, key):
    async with open_store(url) as store, open_accounts(store, DIALECTS) as accounts:
        caller = await accounts.authenticate("generic", key)
        async def charge_on():
            while True:
                await accounts.charge(caller, 1)
                sys.stdout.write("charged\\n")
                sys.stdout.flush()
        await asyncio.gather(*(charge_on() for _ in range(20)))

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_kill_loses_no_acknowledged_charge(url: str, tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    async with open_store(url) as store, open_accounts(store, DIALECTS) as accounts:
        account_id = await accounts.create_account(credits=1_000_000)
        key = (await accounts.create_key(account_id, "generic")).key
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CHILD, url, key, cwd=root, stdout=asyncio.subprocess.PIPE
        )
        assert child.stdout is not None
        acknowledged = [await child.stdout.readline() for _ in range(300)]
        child.kill()
        rest = await child.stdout.read()
        await child.wait()
        count = len(acknowledged) + rest.count(b"\n")
        usage = await accounts.usage(await authenticated(accounts, "generic", key))
    assert count <= usage.used <= count + 20  # those in flight were not acknowledged
    assert usage.credits_left == 1_000_000 - usage.used


# -- limits ------------------------------------------------------------------------------


async def test_the_plans_rate_applies_to_each_key_and_bucket_separately(
    accounts: Accounts, clock: Clock
) -> None:
    account_id = await accounts.create_account(plan="emailable")
    keys = [await accounts.create_key(account_id, "emailable") for _ in range(2)]
    one, two = [await authenticated(accounts, "emailable", key.key) for key in keys]
    for _ in range(25):
        await accounts.enforce_rate_limit(one, "verify")
    with pytest.raises(RateLimitExceeded) as caught:
        await accounts.enforce_rate_limit(one, "verify")
    assert (caught.value.limit, caught.value.retry_after_s) == (25, 1)
    assert caught.value.reset_at == clock.now + 1
    await accounts.enforce_rate_limit(one, "account")
    await accounts.enforce_rate_limit(one, "a bucket without a rate")
    await accounts.enforce_rate_limit(two, "verify")
    clock.now += 1
    await accounts.enforce_rate_limit(one, "verify")


async def test_a_plan_without_rates_limits_nothing(accounts: Accounts) -> None:
    caller = await caller_of(accounts, "emailable")
    assert caller.plan == Plan("unlimited", "Unlimited")
    for _ in range(1000):
        await accounts.enforce_rate_limit(caller, "verify")
