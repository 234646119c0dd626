"""A store that scopes share: a scope that floods it evicts only its own values."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.sandbox.budget import SHARE, ScopedStore

MAX_VALUES, MAX_SIZE = 20, 100
puts = st.lists(st.tuples(st.sampled_from([None, 0, 1, 2, 3]), st.integers(0, 40)), max_size=200)


@given(puts)
def test_the_bounds_hold_and_sizes_add_up(values: list[tuple[int | None, int]]) -> None:
    removed: list[tuple[int | None, int, int]] = []
    store: ScopedStore[int, tuple[int | None, int, int]] = ScopedStore(
        max_values=MAX_VALUES, max_size=MAX_SIZE, on_removal=removed.append
    )
    for key, (scope, size) in enumerate(values):
        store.put(scope, key, (scope, key, size), size)
        kept = store.values(None)
        assert len(store) == len(kept) <= MAX_VALUES
        assert store.size == sum(kept_size for *_, kept_size in kept) <= MAX_SIZE
        assert len(kept) + len(removed) == key + 1
        assert store.get(key) == (scope, key, size)
        for one in (0, 1, 2, 3):
            assert store.values(one) == [value for value in kept if value[0] == one]
    assert store.clear(0) == sum(scope == 0 for scope, *_ in kept) if values else True
    assert store.values(0) == []
    store.clear(None)
    assert (len(store), store.size) == (0, 0)


@given(st.integers(1, 40), st.booleans())
def test_a_scope_within_its_share_keeps_everything_while_another_floods(
    size: int, first: bool
) -> None:
    store: ScopedStore[str, int] = ScopedStore(max_values=1_000, max_size=MAX_SIZE)
    own = [f"own {n}" for n in range(int(SHARE * MAX_SIZE // 5))]
    if first:
        for key in own:
            store.put(1, key, 0, 5)
    for number in range(500):
        store.put(2, f"flood {number}", 0, size)
    if not first:
        for key in own:
            store.put(1, key, 0, 5)
        for number in range(500, 1_000):
            store.put(2, f"flood {number}", 0, size)
    assert store.keys(1) == own
