"""What cannot be done with accounts and keys.

AccountsError
├── NoSuchAccount, NoSuchKey, AmbiguousKey
├── UnknownPlan, UnknownDialect
└── KeyTaken, KeyLooksLikeTest
InsufficientCredits (`caller`) and RateLimitExceeded (`limits`) are answers to a caller.
"""

from __future__ import annotations

from collections.abc import Collection


class AccountsError(Exception):
    """An operation on accounts or keys that cannot be done."""


class NoSuchAccount(AccountsError):
    def __init__(self, account_id: int) -> None:
        super().__init__(f"there is no account {account_id}")


class NoSuchKey(AccountsError):
    def __init__(self, key_ref: str) -> None:
        super().__init__(f"no key has {key_ref!r} as its id or its end")


class AmbiguousKey(AccountsError):
    def __init__(self, key_ref: str, ids: Collection[int]) -> None:
        super().__init__(
            f"{key_ref!r} fits the keys {', '.join(map(str, ids))}; give an id or the whole key"
        )
        self.ids = tuple(ids)


class _UnknownName(AccountsError):
    noun = ""

    def __init__(self, name: str, known: Collection[str]) -> None:
        super().__init__(f"no {self.noun} is named {name!r}; there are {', '.join(known)}")
        self.name = name
        self.known = tuple(known)


class UnknownPlan(_UnknownName):
    noun = "plan"


class UnknownDialect(_UnknownName):
    noun = "dialect"


class KeyLooksLikeTest(AccountsError):
    def __init__(self, dialect: str, prefix: str) -> None:
        super().__init__(
            f"a key that begins with {prefix} is a test key of {dialect}; say that it is one"
        )


class KeyTaken(AccountsError):
    def __init__(self, dialect: str) -> None:
        super().__init__(f"that key exists already in {dialect}")
