"""Tokens of links to a batch's results, those that expire included. Pure.

A token that expires names the batch and the second of its end, and is signed with the batch's own
secret: no link has to be stored, and who has an old one can neither read the file nor make a newer
link of it.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import NamedTuple

from adapters.contract.batch_rules import BatchRules
from adapters.kit.words import is_digits

SIGNATURE_CHARACTERS = 40
"""Hexadecimal, so 160 bits."""
MAX_EXPIRY_DIGITS = 12


class TimedToken(NamedTuple):
    """A token as it stands in a link."""

    job_id: str
    expires_at: int
    """Unix time in seconds."""
    signature: str

    def is_valid(self, dialect: str, secret: str, now: float) -> bool:
        """Whether it was signed with the secret of this dialect's batch, and has not expired."""
        wanted = _sign(dialect, self.job_id, self.expires_at, secret)
        return hmac.compare_digest(wanted, self.signature) and now <= self.expires_at


def token_for_links(rules: BatchRules, dialect: str, job_id: str, secret: str, now: float) -> str:
    """What stands in a link that is written now; `now` is Unix time in seconds."""
    if rules.is_public:
        return job_id
    if rules.link_lifetime_s is None:
        return secret
    return timed_token(dialect, job_id, secret, int(now + rules.link_lifetime_s))


def timed_token(dialect: str, job_id: str, secret: str, expires_at: int) -> str:
    return f"{job_id}-{expires_at}-{_sign(dialect, job_id, expires_at, secret)}"


def parse_timed_token(text: str) -> TimedToken | None:
    """None for a text of another form."""
    job_id, _, rest = text.partition("-")
    expires_at, _, signature = rest.partition("-")
    if not job_id or not signature.isascii() or len(signature) != SIGNATURE_CHARACTERS:
        return None
    if not is_digits(expires_at) or len(expires_at) > MAX_EXPIRY_DIGITS:
        return None
    return TimedToken(job_id, int(expires_at), signature)


def _sign(dialect: str, job_id: str, expires_at: int, secret: str) -> str:
    text = f"{dialect} {job_id} {expires_at}"
    found = hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()
    return found[:SIGNATURE_CHARACTERS]
