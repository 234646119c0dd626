"""The vendors' published Python clients, with another base URL and otherwise unchanged.

emailable 3.1.0, email-verifier 1.0.0 and bulk-email-verifier 1.0.1 from PyPI.
"""

from __future__ import annotations

import emailable
import emailverifier
import pytest
from emailverifier.exceptions import HttpException

from tests.clients.conftest import Served

pytestmark = pytest.mark.testbed

PLACES = ["", "/{dialect}"]
"""At the root, and under the dialect's prefix."""

KNOWN, UNKNOWN, CATCH_ALL = "alice@postfix.test", "nobody@postfix.test", "x81@catchall.test"


@pytest.mark.parametrize("place", PLACES)
class TestEmailable:
    def client(self, served: Served, place: str, key: str | None = None) -> emailable.Client:
        client = emailable.Client(key or served.keys["emailable"])
        client.base_url = f"{served.url}{place.format(dialect='emailable')}/v1/"
        return client

    @pytest.mark.parametrize(
        ("address", "options", "state", "reason"),
        [
            (KNOWN, {}, "deliverable", "accepted_email"),
            (UNKNOWN, {}, "undeliverable", "rejected_email"),
            (CATCH_ALL, {"accept_all": True}, "risky", "low_deliverability"),
            ("full@exim.test", {}, "risky", "low_deliverability"),
            ("user@no-such-domain.test", {}, "undeliverable", "invalid_domain"),
            ("not-an-address", {}, "undeliverable", "invalid_email"),
            ("user@rbl-rcpt.test", {}, "unknown", "unavailable_smtp"),
        ],
    )
    def test_verify(
        self,
        served: Served,
        place: str,
        address: str,
        options: dict[str, bool],
        state: str,
        reason: str,
    ) -> None:
        answer = self.client(served, place).verify(address, **options)
        assert answer.status_code == 200
        assert (answer.email, answer.state, answer.reason) == (address, state, reason)

    def test_a_slow_server_is_asked_again(self, served: Served, place: str) -> None:
        # the banner takes two seconds; a repeated request gets the result
        client = self.client(served, place)
        address = f"user{'+tag' if place else ''}@slowbanner.test"
        answers = [client.verify(address, timeout=2) for _ in range(3)]
        assert {answer.status_code for answer in answers} <= {200, 249}
        assert answers[-1].status_code == 200

    def test_account(self, served: Served, place: str) -> None:
        account = self.client(served, place).account()
        assert account.owner_email == "owner@localhost"
        assert account.available_credits == 1_000_000_000

    def test_a_bad_key(self, served: Served, place: str) -> None:
        with pytest.raises(emailable.AuthError, match="API key is invalid"):
            self.client(served, place, "live_00000000000000000000").verify(KNOWN)

    def test_no_address(self, served: Served, place: str) -> None:
        with pytest.raises(emailable.ClientError, match="email parameter is required"):
            self.client(served, place).verify("")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("version", ["v1", "v2", "v3"])
class TestWhoisXml:
    def client(
        self, served: Served, place: str, version: str, key: str | None = None
    ) -> emailverifier.Client:
        url = f"{served.url}{place.format(dialect='whoisxml')}/api/{version}"
        return emailverifier.Client(key or served.keys["whoisxml"], url)

    @pytest.mark.parametrize(
        ("address", "smtp", "dns", "catch_all"),
        [
            (KNOWN, True, True, False),
            (UNKNOWN, False, True, False),
            (CATCH_ALL, True, True, True),
            ("user@no-such-domain.test", None, False, None),
        ],
    )
    def test_verify(
        self,
        served: Served,
        place: str,
        version: str,
        address: str,
        smtp: bool | None,
        dns: bool,
        catch_all: bool | None,
    ) -> None:
        answer = self.client(served, place, version).get(address)
        assert answer.email_address == address
        assert answer.format_check is True
        assert (answer.smtp_check, answer.dns_check) == (smtp, dns)
        assert answer.catch_all_check == catch_all

    def test_a_bad_key(self, served: Served, place: str, version: str) -> None:
        status = "403" if version == "v1" else "401"
        with pytest.raises(HttpException, match=status):
            self.client(served, place, version, "at_00000000000000000000000000000").get(KNOWN)
