"""The object that shows the result of one address."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from adapters.kit.words import bool_word
from adapters.zerobounce.words import test_address, words_of
from engine.model import Verification

TEST_DOMAIN_AGE_DAYS = "9692"


def validation(
    v: Verification,
    *,
    with_activity: bool = False,
    with_domain: bool = False,
    with_catch_all: bool = False,
) -> dict[str, Any]:
    """The object of one address, its members in the vendor's order."""
    words, evidence, address = words_of(v), v.evidence, v.address
    person = evidence.person
    is_test = v.source == "sandbox" and test_address(address) is not None
    body: dict[str, Any] = {
        "address": address.raw,
        "status": words.status,
        "sub_status": words.sub_status,
        "free_email": evidence.free,
        "did_you_mean": evidence.did_you_mean,
        "account": address.local if address.valid and not is_test else None,
        "domain": address.domain_as_written if address.valid else None,
        "domain_age_days": TEST_DOMAIN_AGE_DAYS if is_test else None,
    }
    if with_activity:
        body |= {"active_in_days": None, "active_first_seen": None}
    body["smtp_provider"] = evidence.provider
    if with_catch_all:
        body["catchall_domain"] = evidence.catch_all
    body |= {
        "mx_found": bool_word(bool(evidence.mx)),
        "mx_record": evidence.mx_host or "",
        "firstname": person.first if person else None,
        "lastname": person.last if person else None,
        "gender": person.gender.value if person and person.gender else None,
        "country": None,
        "region": None,
        "city": None,
        "zipcode": None,
        "processed_at": processed_at(v.verified_at),
    }
    if with_domain:
        body["domain_website_exists"] = "unchecked"
        body["domain_registrant_company_name"] = "unchecked"
    return body


def processed_at(at: datetime) -> str:
    """`2025-10-16 08:28:31.200`."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
