"""A verification as JSON, for the native API and `veriplex verify --json`."""

from __future__ import annotations

from typing import Any

import orjson

from engine.model import Verification


def verification_as_dict(v: Verification) -> dict[str, Any]:
    """The members of the JSON object; orjson writes those that are dataclasses."""
    return {
        "address": v.address.raw,
        "verdict": v.verdict,
        "reason": v.reason,
        "score": v.score,
        "source": v.source,
        "cached": v.cached,
        "verified_at": v.verified_at,
        "duration_s": round(v.duration_s, 3),
        "parts": {
            "user": v.address.user,
            "tag": v.address.tag,
            "local": v.address.local,
            "domain": v.address.domain,
            "ascii_domain": v.address.ascii_domain,
            "error": v.address.error,
        },
        "checks": v.checks,
        "evidence": v.evidence,
        "attempts": v.attempts,
    }


def verification_as_json(v: Verification) -> bytes:
    """One line of UTF-8."""
    return orjson.dumps(verification_as_dict(v))
