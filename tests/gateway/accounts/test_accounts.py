"""Accounts over real databases: keys, credits, allowances, limits, restarts and kills."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import insert

from adapters.contract.operations import UNLIMITED, Plan
from adapters.registry import DIALECTS
from gateway.accounts.accounts import (
    Accounts,
    AccountStatus,
    AmbiguousKey,
    Caller,
    Charge,
    InsufficientCredits,
    KeyTaken,
    NoSuchAccount,
    NoSuchKey,
    RateLimitExceeded,
    UnknownDialect,
    UnknownPlan,
    Usage,
    open_accounts,
)
from gateway.store import Store, StoreBusy, StoreConflict, open_store
from gateway.store.tables import milestones

NAMES = [dialect.name for dialect in DIALECTS]


class Clock:
    """Unix time that stands until it is moved."""

    def __init__(self, now: datetime) -> None:
        self.now = now.timestamp()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock(datetime(2026, 5, 31, 23, 59, 58, tzinfo=UTC))


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/v.db"


@contextlib.asynccontextmanager
async def opened(url: str, clock: Clock, plan: str = "unlimited") -> AsyncIterator[Accounts]:
    """One server's accounts; the clock moves the look-ups' memory too."""
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
    """A new account's caller."""
    account_id = await accounts.create_account("a@example.com", plan=plan, credits=credits)
    made = await accounts.create_key(account_id, dialect, test=test)
    return await known(accounts, dialect, made.key)


async def known(accounts: Accounts, dialect: str, key: str) -> Caller:
    caller = await accounts.authenticate(dialect, key)
    assert caller is not None
    return caller


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


# -- keys --------------------------------------------------------------------------------


async def test_the_first_start_makes_one_account_with_two_keys_of_each_dialect(
    accounts: Accounts,
) -> None:
    assert await accounts.is_empty()
    made = await accounts.bootstrap()
    assert [(key.dialect, key.test) for key in made] == [
        (name, test) for name in NAMES for test in (False, True)
    ]
    for key in made:
        caller = await known(accounts, key.dialect, key.key)
        assert (caller.test, caller.plan, caller.status) == (
            key.test,
            UNLIMITED,
            AccountStatus.ACTIVE,
        )
    assert await accounts.oldest_account_id() == made[0].account_id
    assert not await accounts.is_empty()
    assert await accounts.bootstrap() == ()


async def test_of_many_first_starts_at_once_one_makes_the_account(url: str, clock: Clock) -> None:
    async with contextlib.AsyncExitStack() as stack:
        opening = [stack.enter_async_context(opened(url, clock)) for _ in range(4)]
        servers = await asyncio.gather(*opening)
        made = await asyncio.gather(*(server.bootstrap() for server in servers))
        assert sorted(map(len, made)) == [0, 0, 0, 2 * len(NAMES)]
        assert len(await servers[0].list_keys()) == 2 * len(NAMES)


async def test_the_plan_of_new_accounts_is_a_setting(url: str, clock: Clock) -> None:
    async with opened(url, clock, plan="free") as accounts:
        made = await accounts.bootstrap()
        plans = {(await known(accounts, key.dialect, key.key)).plan.name for key in made}
    assert plans == {"free"}
    with pytest.raises(UnknownPlan, match="no plan is named 'fre'; there are unlimited, "):
        async with opened(url, clock, plan="fre"):
            pass


async def test_accounts_keys_and_usage_survive_a_restart(url: str, clock: Clock) -> None:
    async with opened(url, clock) as accounts:
        limited = await accounts.create_account("l@example.com", credits=10)
        free = await accounts.create_account("f@example.com")
        keys = [await accounts.create_key(each, "generic", label="ci") for each in (limited, free)]
        for key in keys:
            await accounts.charge(await known(accounts, "generic", key.key), 4)
    async with opened(url, clock) as accounts:
        callers = [await known(accounts, "generic", key.key) for key in keys]
        assert [c.owner_email for c in callers] == ["l@example.com", "f@example.com"]
        assert [c.key_label for c in callers] == ["ci", "ci"]
        assert [await accounts.usage(c) for c in callers] == [
            Usage("2026-05", 4, None, 6),
            Usage("2026-05", 4, None, None),
        ]


async def test_a_key_is_kept_as_its_hash_alone(
    tmp_path: Path, url: str, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(url, clock) as accounts:
        made = await accounts.bootstrap()
        shown = repr(made) + repr(await accounts.list_keys())
        shown += repr([await accounts.authenticate(key.dialect, key.key) for key in made])
    written = everything_in(tmp_path).lower()
    for key in made:
        secret = key.key.rpartition("_")[2]
        assert secret.lower().encode() not in written
        assert secret[:-4].lower().encode() not in written
        assert secret not in shown + caplog.text


@pytest.mark.parametrize(
    "credential",
    ["", "x", "live_", "live_00000000000000000000", "\udcff", "\x00", "k" * 256, "k" * 1_000_000],
)
async def test_a_credential_nobody_has_belongs_to_nobody(
    accounts: Accounts, credential: str
) -> None:
    await accounts.bootstrap()
    for name in [*NAMES, "no-such-dialect"]:
        assert await accounts.authenticate(name, credential) is None


async def test_a_key_holds_in_its_own_dialect_alone_and_to_the_letter(accounts: Accounts) -> None:
    made = await accounts.bootstrap()
    for key in made:
        others = [name for name in NAMES if name != key.dialect]
        assert [await accounts.authenticate(name, key.key) for name in others] == [None] * 4
        for wrong in (key.key[:-1], key.key + "0", key.key.swapcase(), f" {key.key}"):
            assert await accounts.authenticate(key.dialect, wrong) is None


async def test_two_dialects_may_share_a_chosen_key_and_one_may_not_twice(
    accounts: Accounts,
) -> None:
    account_id = await accounts.create_account()
    for name in NAMES[:2]:
        made = await accounts.create_key(account_id, name, test=True, key="chosen")
        assert (made.key, made.hint) == ("chosen", "…osen")
        assert (await known(accounts, name, "chosen")).dialect == name
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


async def test_a_key_made_by_another_process_is_known_within_a_second(
    url: str, clock: Clock, accounts: Accounts
) -> None:
    async with opened(url, clock) as command:
        account_id = await command.create_account()
        assert await accounts.authenticate("generic", "chosen") is None
        await command.create_key(account_id, "generic", key="chosen")
    clock.now += 1
    await known(accounts, "generic", "chosen")


async def test_a_key_revoked_by_another_process_is_refused_within_a_second(
    url: str, clock: Clock, accounts: Accounts
) -> None:
    made = (await accounts.bootstrap())[0]
    await known(accounts, made.dialect, made.key)
    async with opened(url, clock) as command:
        revoked = await command.revoke_key(str(made.id))
        assert revoked.revoked_at == datetime.fromtimestamp(clock.now, UTC)
    clock.now += 1
    assert await accounts.authenticate(made.dialect, made.key) is None


async def test_a_key_revoked_here_is_refused_at_once(accounts: Accounts) -> None:
    made = (await accounts.bootstrap())[0]
    await known(accounts, made.dialect, made.key)
    first = await accounts.revoke_key(made.key)
    assert await accounts.authenticate(made.dialect, made.key) is None
    assert await accounts.revoke_key(str(made.id)) == first  # a second time changes nothing


async def test_the_database_is_asked_once_for_a_key_in_steady_use(
    url: str, clock: Clock, accounts: Accounts
) -> None:
    made = (await accounts.bootstrap())[0]
    async with opened(url, clock) as command:
        await known(accounts, made.dialect, made.key)
        await command.revoke_key(made.key)
        clock.now += 0.5
        await known(accounts, made.dialect, made.key)  # still remembered


@pytest.mark.parametrize("which", ["id", "hint", "end", "key"])
async def test_a_key_can_be_named_in_several_ways(accounts: Accounts, which: str) -> None:
    made = await accounts.bootstrap()
    key = next(each for each in made if not each.key[-4:].isdigit())
    name = {"id": str(key.id), "hint": key.hint, "end": key.key[-4:], "key": key.key}[which]
    assert (await accounts.revoke_key(name)).id == key.id


async def test_a_name_that_fits_none_or_several_keys_revokes_nothing(accounts: Accounts) -> None:
    account_id = await accounts.create_account()
    for n in range(2):
        await accounts.create_key(account_id, "generic", key=f"{n}-same")
    with pytest.raises(AmbiguousKey, match="'same' fits the keys 1, 2;") as caught:
        await accounts.revoke_key("same")
    assert caught.value.ids == (1, 2)
    for nobody in ("", "3", "nobody", "-same"):
        with pytest.raises(NoSuchKey):
            await accounts.revoke_key(nobody)
    assert [key.revoked_at for key in await accounts.list_keys()] == [None, None]
    await accounts.revoke_key("1")
    assert (await accounts.revoke_key("same")).id == 2  # the one still in use is meant


async def test_the_list_of_keys_tells_what_they_may(accounts: Accounts) -> None:
    account_id = await accounts.create_account("a@example.com", plan="free", credits=7)
    made = await accounts.create_key(account_id, "generic", test=True, label="ci")
    (key,) = await accounts.list_keys()
    assert (key.id, key.account_id, key.dialect) == (made.id, account_id, "generic")
    assert (key.test, key.label, key.hint) == (True, "ci", f"ev_test_…{made.key[-4:]}")
    assert (key.owner_email, key.plan, key.credits) == ("a@example.com", "free", 7)
    assert (key.status, key.revoked_at) == (AccountStatus.ACTIVE, None)


async def test_what_does_not_exist_is_named(accounts: Accounts) -> None:
    account_id = await accounts.create_account()
    with pytest.raises(UnknownDialect, match="no dialect is named 'generik'; there are emailable"):
        await accounts.create_key(account_id, "generik")
    with pytest.raises(NoSuchAccount, match="there is no account 99"):
        await accounts.create_key(99, "generic")
    with pytest.raises(NoSuchAccount):
        await accounts.set_credits(99, 1)
    with pytest.raises(UnknownPlan):
        await accounts.set_plan(account_id, "gold")
    with pytest.raises(ValueError, match="not negative"):
        await accounts.create_account(credits=-1)


async def test_status_plan_and_credits_can_be_changed(accounts: Accounts) -> None:
    made = await accounts.create_key(await accounts.create_account(), "generic")
    await accounts.set_status(made.account_id, AccountStatus.SUSPENDED)
    assert (await known(accounts, "generic", made.key)).status is AccountStatus.SUSPENDED
    await accounts.set_status(made.account_id, AccountStatus.UNCONFIRMED)
    await accounts.set_plan(made.account_id, "free")
    await accounts.set_credits(made.account_id, 5)
    caller = await known(accounts, "generic", made.key)
    assert (caller.status, caller.plan.name) == (AccountStatus.UNCONFIRMED, "free")
    assert (await accounts.usage(caller)).credits_left == 5
    await accounts.set_credits(made.account_id, None)
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


async def test_a_hard_cap_refuses_what_goes_beyond_the_month(accounts: Accounts) -> None:
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
    await accounts.refund(spent, 100)  # goes back into May
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


async def test_the_allowance_is_the_accounts_whichever_of_its_keys_is_used(
    accounts: Accounts,
) -> None:
    account_id = await accounts.create_account(plan="free")
    for name in ("generic", "emailable"):
        key = await accounts.create_key(account_id, name)
        await accounts.charge(await known(accounts, name, key.key), 50)
    with pytest.raises(InsufficientCredits):
        await accounts.charge(await known(accounts, name, key.key), 1)


async def test_refunds_give_back_what_was_charged_and_no_more(accounts: Accounts) -> None:
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


async def test_nothing_can_be_charged_backwards(accounts: Accounts) -> None:
    caller = await caller_of(accounts, credits=3)
    with pytest.raises(ValueError, match="not negative"):
        await accounts.charge(caller, -1)
    assert (await accounts.charge(caller, 0)).units == 0


async def test_thousands_at_once_from_two_processes_spend_exactly_what_there_is(
    url: str, clock: Clock
) -> None:
    async with opened(url, clock) as one, opened(url, clock) as two:
        caller = await caller_of(one, credits=1000)
        asked = [server.charge(caller, 1) for _ in range(1000) for server in (one, two)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(answer, Charge) for answer in answers) == 1000
        assert sum(isinstance(answer, InsufficientCredits) for answer in answers) == 1000
        for server in (one, two):
            assert await server.usage(caller) == Usage("2026-05", 1000, None, 0)


async def test_odd_amounts_at_once_never_pass_the_allowance(accounts: Accounts) -> None:
    caller = await caller_of(accounts, plan="free")
    amounts = [1, 7, 30, 2, 90, 11, 50, 3]
    asked = [accounts.charge(caller, n) for n in amounts]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    charged = sum(answer.units for answer in answers if isinstance(answer, Charge))
    assert charged == (await accounts.usage(caller)).used == 1 + 7 + 30 + 2 + 11 + 3


async def test_a_charge_can_stand_or_fall_with_what_it_pays_for(url: str, clock: Clock) -> None:
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
            await submit(store, "batch", 4)  # the row is there already, so nothing is charged
        assert (await accounts.usage(caller)).credits_left == 4


async def test_counted_use_survives_a_database_that_is_busy_for_a_while(
    url: str, clock: Clock
) -> None:
    async with (
        open_store(url, busy_timeout_s=0.02) as store,
        open_store(url) as other,
        open_accounts(store, DIALECTS, clock=clock) as accounts,
    ):
        caller = await caller_of(accounts)
        limited = await caller_of(accounts, credits=5)
        await accounts.charge(caller, 3)
        async with other.write():
            with pytest.raises(StoreBusy):
                await accounts.usage(caller)
            with pytest.raises(StoreBusy):
                await accounts.charge(limited, 1)
        assert (await accounts.usage(caller)).used == 3
        assert (await accounts.usage(limited)).credits_left == 5


async def test_use_that_cannot_be_written_at_the_end_is_told(
    url: str, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        open_store(url, busy_timeout_s=0.02) as store,
        open_store(url) as other,
        open_accounts(store, DIALECTS, clock=clock) as accounts,
    ):
        await accounts.charge(await caller_of(accounts), 3)
        async with other.write():
            await accounts.aclose()
    assert [record.getMessage() for record in caplog.records][-1] == "usage.lost"


async def test_a_caller_who_leaves_while_being_charged_harms_nobody(accounts: Accounts) -> None:
    caller = await caller_of(accounts, credits=100)
    asked = [asyncio.ensure_future(accounts.charge(caller, 1)) for _ in range(50)]
    await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
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
    root = Path(__file__).parents[2]
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
        usage = await accounts.usage(await known(accounts, "generic", key))
    assert count <= usage.used <= count + 20  # those on their way were not acknowledged
    assert usage.credits_left == 1_000_000 - usage.used


# -- limits ------------------------------------------------------------------------------


async def test_the_plans_rate_limits_each_key_and_bucket_by_itself(
    accounts: Accounts, clock: Clock
) -> None:
    account_id = await accounts.create_account(plan="emailable")
    keys = [await accounts.create_key(account_id, "emailable") for _ in range(2)]
    one, two = [await known(accounts, "emailable", key.key) for key in keys]
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
