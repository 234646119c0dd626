"""Who may use the console: passwords, links for one login, and sessions.

A token is 256 random bits, and only its hash is stored. So a reader of the database can neither
take a session over nor find out a password.
"""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from ipaddress import IPv6Address, ip_address, ip_network
from math import ceil
from typing import Protocol

SESSION_S = 12 * 3600
"""How long a session lasts after its login."""
LINK_S = 24 * 3600
"""How long a link can be used."""
MAX_TOKENS = 1_000
"""Sessions and links of one database; those that end first are deleted."""
MAX_FAILED_LOGINS = 10
"""Wrong passwords of one client within `FAILED_LOGIN_S`; then it waits until they are older."""
FAILED_LOGIN_S = 600
MAX_WATCHED_CLIENTS = 10_000
"""Clients with wrong passwords that are remembered; the longest unseen is forgotten first."""
IPV6_NETWORK_BITS = 64
"""Addresses of one IPv6 network count as one client, which has them all."""
TOKEN_BYTES = 32
MAX_TOKEN_CHARACTERS = 100


class Role(StrEnum):
    """What a person may do."""

    VIEWER = "viewer"
    """See everything, and change nothing."""
    OPERATOR = "operator"


class TokenKind(StrEnum):
    """What a stored token is good for."""

    SESSION = "session"
    LINK = "link"
    """To begin one session."""


@dataclass(frozen=True, slots=True)
class StoredToken:
    """A token as it is stored."""

    digest: bytes
    kind: TokenKind
    role: Role
    proof: bytes
    expires_at: int
    """Unix time in seconds."""


@dataclass(frozen=True, slots=True)
class Session:
    """One browser that is logged in."""

    token: str = field(repr=False)
    role: Role

    @property
    def name(self) -> str:
        """For log lines; tells sessions apart."""
        return sha256(f"name:{self.token}".encode()).hexdigest()[:8]

    @property
    def csrf_token(self) -> str:
        """What a form of the console sends, and a page of another site cannot know."""
        return self.sign("csrf")

    def sign(self, text: str) -> str:
        """A signature that only this session can make."""
        return hmac.digest(self.token.encode(), text.encode(), "sha256").hex()

    def is_signed(self, text: str, signature: str) -> bool:
        return hmac.compare_digest(self.sign(text).encode(), signature.encode())


class TooManyAttempts(Exception):
    """A client has sent too many wrong passwords."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class TokenStore(Protocol):
    """Where tokens are stored; all methods may raise StoreError."""

    async def put(self, token: StoredToken) -> None:
        """Store one, and delete those that have ended and those beyond `MAX_TOKENS`."""

    async def find(self, digest: bytes) -> StoredToken | None: ...

    async def take(self, digest: bytes, kind: TokenKind) -> StoredToken | None:
        """Find one of a kind and delete it. Of several who try at once, one gets it."""


class TokensInMemory:
    """For a server without a database."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._tokens: dict[bytes, StoredToken] = {}

    async def put(self, token: StoredToken) -> None:
        now = self._clock()
        kept = [each for each in self._tokens.values() if each.expires_at > now]
        kept.sort(key=lambda each: each.expires_at)
        self._tokens = {each.digest: each for each in (*kept[-MAX_TOKENS + 1 :], token)}

    async def find(self, digest: bytes) -> StoredToken | None:
        return self._tokens.get(digest)

    async def take(self, digest: bytes, kind: TokenKind) -> StoredToken | None:
        found = self._tokens.get(digest)
        return self._tokens.pop(digest) if found is not None and found.kind is kind else None


class ConsoleAccess:
    """Logs people in and finds their sessions. Methods may raise StoreError.

    An empty password admits nobody; `clock` is Unix time in seconds.
    """

    def __init__(
        self,
        tokens: TokenStore,
        *,
        password: str = "",
        viewer_password: str = "",
        clock: Callable[[], float],
    ) -> None:
        self._tokens = tokens
        both = {Role.OPERATOR: password, Role.VIEWER: viewer_password}
        self._passwords = {role: each for role, each in both.items() if each}
        self._clock = clock
        self._failed = _FailedLogins(clock)

    @property
    def has_passwords(self) -> bool:
        return bool(self._passwords)

    @property
    def needs_link(self) -> bool:
        """Whether an operator can log in by a link alone."""
        return Role.OPERATOR not in self._passwords

    async def create_link_token(self) -> str:
        """A token by which an operator may log in once within `LINK_S`."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        await self._store(token, TokenKind.LINK, Role.OPERATOR, LINK_S)
        return token

    async def log_in(self, password: str, client: str) -> Session | None:
        """A new session; None if the password is wrong. Raises TooManyAttempts."""
        role = self.check_password(password, client)
        return None if role is None else await self._begin(role)

    def check_password(self, password: str, client: str) -> Role | None:
        """What a password admits to; None if it is wrong. Raises TooManyAttempts."""
        self._failed.check(client)
        role = None
        for each, right in self._passwords.items():
            # every password is compared, each in the same time whatever is sent
            if hmac.compare_digest(_digest(password), _digest(right)):
                role = each
        if role is None:
            self._failed.add(client)
        return role

    async def log_in_by_link(self, token: str) -> Session | None:
        """A new session; None if the link was used, has ended or was never made."""
        found = await self._tokens.take(_digest(token), TokenKind.LINK)
        if found is None or not self._is_valid(found, token, TokenKind.LINK):
            return None
        return await self._begin(found.role)

    async def find_session(self, token: str) -> Session | None:
        """The session of a cookie; None if it has ended."""
        if not token or len(token) > MAX_TOKEN_CHARACTERS:
            return None
        found = await self._tokens.find(_digest(token))
        if found is None or not self._is_valid(found, token, TokenKind.SESSION):
            return None
        return Session(token, found.role)

    async def end_session(self, session: Session) -> None:
        await self._tokens.take(_digest(session.token), TokenKind.SESSION)

    async def _begin(self, role: Role) -> Session:
        # always a new token: one that a browser had before its login is worth nothing after it
        token = secrets.token_urlsafe(TOKEN_BYTES)
        await self._store(token, TokenKind.SESSION, role, SESSION_S)
        return Session(token, role)

    async def _store(self, token: str, kind: TokenKind, role: Role, lasts_s: int) -> None:
        expires_at = int(self._clock()) + lasts_s
        proof = self._proof(token, role)
        await self._tokens.put(StoredToken(_digest(token), kind, role, proof, expires_at))

    def _is_valid(self, found: StoredToken, token: str, kind: TokenKind) -> bool:
        if found.kind is not kind or found.expires_at <= self._clock():
            return False
        # a changed password ends the sessions that were begun with the old one
        return hmac.compare_digest(found.proof, self._proof(token, found.role))

    def _proof(self, token: str, role: Role) -> bytes:
        return hmac.digest(token.encode(), self._passwords.get(role, "").encode(), "sha256")


class _FailedLogins:
    """Counts wrong passwords by client."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._times: OrderedDict[str, list[float]] = OrderedDict()

    def check(self, client: str) -> None:
        """Raises TooManyAttempts."""
        times = self._recent(_network_of(client))
        if len(times) >= MAX_FAILED_LOGINS:
            raise TooManyAttempts(max(1, ceil(times[0] + FAILED_LOGIN_S - self._clock())))

    def add(self, client: str) -> None:
        network = _network_of(client)
        self._times[network] = [*self._recent(network), self._clock()]
        self._times.move_to_end(network)
        if len(self._times) > MAX_WATCHED_CLIENTS:
            self._times.popitem(last=False)

    def _recent(self, network: str) -> list[float]:
        since = self._clock() - FAILED_LOGIN_S
        return [at for at in self._times.get(network, ()) if at > since]


def _network_of(client: str) -> str:
    try:
        address = ip_address(client)
    except ValueError:
        return client
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return str(ip_network((address, IPV6_NETWORK_BITS), strict=False))
    return client


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogatepass")).digest()
