"""Requests of mail services, as their documentation has them, with signatures of test keys."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

from gateway.outcomes.events.sns import SIGNED_FIELDS, MessageType

FOLDER = Path(__file__).parents[3] / "compat_fixtures" / "mail_services"
NOW = 1_780_000_000.0
MAILGUN_KEY, POSTMARK_TOKEN = "mailgun-signing-key", "postmark-passw0rd"


@cache
def fixture(service: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"_{service}.json").read_text("utf-8"))
    return found


# -- SNS ---------------------------------------------------------------------------------


@cache
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def certificate(key: Any = None, *, at: float = NOW, days: int = 30) -> bytes:
    """A certificate that is valid from `at` for so many days."""
    key = key or rsa_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    begin = datetime.fromtimestamp(at, UTC) - timedelta(hours=1)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    return built.public_bytes(serialization.Encoding.PEM)


def sns_message(event: Any = None, *, version: str = "1", **changes: Any) -> dict[str, Any]:
    """A signed message of SNS with an event; a confirmation without one."""
    kind = "subscription" if event is None else "notification"
    message = {**fixture("ses")[kind], "SignatureVersion": version}
    if event is not None:
        message["Message"] = event if isinstance(event, str) else json.dumps(event) + "\n"
    message |= changes
    message = {name: value for name, value in message.items() if value is not None}
    fields = SIGNED_FIELDS[MessageType(message["Type"])]
    signed = "".join(f"{name}\n{message[name]}\n" for name in fields if name in message)
    algorithm = hashes.SHA1() if version == "1" else hashes.SHA256()  # noqa: S303
    signature = rsa_key().sign(signed.encode(), padding.PKCS1v15(), algorithm)
    return {**message, "Signature": base64.b64encode(signature).decode()}


# -- the others --------------------------------------------------------------------------


@cache
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def sendgrid_public_key() -> str:
    der = (
        ec_key()
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return base64.b64encode(der).decode()


def sendgrid_headers(body: bytes, timestamp: str = "1600112502") -> Mapping[str, str]:
    signature = ec_key().sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))
    return {
        "x-twilio-email-event-webhook-signature": base64.b64encode(signature).decode(),
        "x-twilio-email-event-webhook-timestamp": timestamp,
    }


def mailgun_body(
    event: Any, *, token: str = "", at: float = NOW, key: str = MAILGUN_KEY, name: str = "signature"
) -> bytes:
    timestamp, token = str(int(at)), token or fixture("mailgun")["signature"]["token"]
    digest = hmac.digest(key.encode(), f"{timestamp}{token}".encode(), "sha256").hex()
    signature = {"timestamp": timestamp, "token": token, "signature": "0" * 64, name: digest}
    return json.dumps({"signature": signature, "event-data": event}).encode()


def postmark_headers(token: str = POSTMARK_TOKEN, name: str = "hook") -> Mapping[str, str]:
    pair = base64.b64encode(f"{name}:{token}".encode()).decode()
    return {"authorization": f"Basic {pair}"}
