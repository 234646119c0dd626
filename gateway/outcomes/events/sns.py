"""Messages of Amazon SNS: their signatures, and which of their URLs may be fetched. Pure.

https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html and
…/http-subscription-confirmation-json.html (seen November 2026). A message names the certificate
that it is signed with, so the name of that certificate's host is what everything rests on.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qs, urlsplit

from gateway.outcomes.events.terms import INSTALL, MissingExtra, WrongSignature, parse_json
from gateway.outcomes.reading import UnreadableOutcomes


class MessageType(StrEnum):
    NOTIFICATION = "Notification"
    SUBSCRIPTION = "SubscriptionConfirmation"
    END = "UnsubscribeConfirmation"


_NOTIFICATION_FIELDS = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
_CONFIRMATION_FIELDS = (
    "Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type",
)  # fmt: skip
SIGNED_FIELDS = {
    MessageType.NOTIFICATION: _NOTIFICATION_FIELDS,  # Subject only if it is there
    MessageType.SUBSCRIPTION: _CONFIRMATION_FIELDS,
    MessageType.END: _CONFIRMATION_FIELDS,
}
_HOST = re.compile(r"sns\.(?P<region>[a-z]{2}(?:-[a-z]{1,12}){1,3}-\d{1,2})\.amazonaws\.com(\.cn)?")
_CERTIFICATE_PATH = re.compile(r"/SimpleNotificationService-[0-9A-Za-z]{8,64}\.pem")
_TOPIC = re.compile(r"arn:aws[a-z-]{0,20}:sns:(?P<region>[a-z0-9-]{1,40}):\d{12}:.{1,256}")
MAX_URL_CHARACTERS = 2_000


@dataclass(frozen=True, slots=True)
class SnsMessage:
    """A message whose signature is not checked yet."""

    type: MessageType
    topic: str
    message: str
    certificate_url: str
    subscribe_url: str
    signature: bytes
    is_sha256: bool
    signed: bytes
    """What the signature is over."""


def parse_message(body: bytes, topics: Collection[str]) -> SnsMessage:
    """Raises UnreadableOutcomes, and WrongSignature if it is not one of these topics, or names a
    certificate or a link that is not of SNS."""
    members = parse_json(body)
    if not isinstance(members, dict):
        raise UnreadableOutcomes("The body is not a message of SNS.")
    if "Signature" not in members and ("eventType" in members or "notificationType" in members):
        raise WrongSignature(
            "The event came without SNS's signature; turn off raw message delivery for the"
            " subscription."
        )
    try:
        kind = MessageType(_text(members, "Type"))
    except ValueError:
        raise UnreadableOutcomes("`Type` is not one of SNS's.") from None
    topic = _text(members, "TopicArn")
    if topic not in topics:
        raise WrongSignature("The topic of the message is not one of outcomes.ses_topics.")
    version = _text(members, "SignatureVersion")
    if version not in ("1", "2"):
        raise WrongSignature("`SignatureVersion` is not 1 or 2.")
    try:
        signature = base64.b64decode(_text(members, "Signature"), validate=True)
    except (binascii.Error, ValueError):
        raise WrongSignature("The signature is not base64.") from None
    certificate_url = _text(members, "SigningCertURL")
    if not is_certificate_url(certificate_url, topic):
        raise WrongSignature("`SigningCertURL` is not a certificate of SNS in the topic's region.")
    subscribe_url = ""
    if kind is MessageType.SUBSCRIPTION:
        subscribe_url = _text(members, "SubscribeURL")
        if not is_subscribe_url(subscribe_url, topic):
            raise WrongSignature("`SubscribeURL` is not a link of SNS in the topic's region.")
    lines = [
        f"{name}\n{_text(members, name)}\n"
        for name in SIGNED_FIELDS[kind]
        if not (name == "Subject" and members.get(name) is None)
    ]
    return SnsMessage(
        type=kind,
        topic=topic,
        message=_text(members, "Message"),
        certificate_url=certificate_url,
        subscribe_url=subscribe_url,
        signature=signature,
        is_sha256=version == "2",
        signed="".join(lines).encode("utf-8", "surrogatepass"),
    )


def is_topic(arn: str) -> bool:
    return _TOPIC.fullmatch(arn) is not None


def is_certificate_url(url: str, topic: str) -> bool:
    """Whether the certificate at a URL is one of SNS, of the region of a topic."""
    path = _path_at_sns(url, topic)
    return path is not None and _CERTIFICATE_PATH.fullmatch(path) is not None


def is_subscribe_url(url: str, topic: str) -> bool:
    """Whether a URL confirms a subscription to this topic, and does nothing else."""
    path, _, query = (_path_at_sns(url, topic) or "").partition("?")
    words = parse_qs(query, max_num_fields=10) if query.count("&") < 10 else {}
    return path == "/" and (words.get("Action"), words.get("TopicArn")) == (
        ["ConfirmSubscription"],
        [topic],
    )


def _path_at_sns(url: str, topic: str) -> str | None:
    """The path and the query of a URL of SNS in the region of a topic; None of any other."""
    if len(url) > MAX_URL_CHARACTERS or not url.isascii() or not url.isprintable() or " " in url:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    # compared as it is written, so that no name, password, port or other spelling comes along
    host, region = _HOST.fullmatch(parts.netloc), _TOPIC.fullmatch(topic)
    if not host or not region or host["region"] != region["region"]:
        return None
    start = f"https://{parts.netloc}/"
    if not url.startswith(start) or "\\" in url or "#" in url:
        return None
    return url[len(start) - 1 :]


def _text(members: dict[str, Any], name: str) -> str:
    """Raises UnreadableOutcomes."""
    value = members.get(name)
    if not isinstance(value, str):
        raise UnreadableOutcomes(f"The message of SNS has no `{name}`.")
    return value


def read_certificate(pem: bytes, now: float) -> Any:
    """The RSA key of a certificate. Raises WrongSignature and MissingExtra.

    That it is Amazon's is known by the host it came from, over TLS, as Amazon's own clients do it.
    """
    try:
        from cryptography.hazmat.primitives.asymmetric import rsa
        from cryptography.x509 import load_pem_x509_certificate
    except ImportError as exc:
        raise MissingExtra(INSTALL) from exc
    try:
        certificate = load_pem_x509_certificate(pem)
        key = certificate.public_key()
    except Exception as exc:  # it raises what it likes for what is no certificate
        raise WrongSignature("The certificate of the message cannot be read.") from exc
    moment = datetime.fromtimestamp(now, UTC)
    if not certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc:
        raise WrongSignature("The certificate of the message is not valid now.")
    if not isinstance(key, rsa.RSAPublicKey):
        raise WrongSignature("The certificate of the message has no RSA key.")
    return key


def verify(message: SnsMessage, key: Any) -> None:
    """Raises WrongSignature."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    # version 1 is SHA-1, which is what SNS uses unless a topic is set to 2
    algorithm = hashes.SHA256() if message.is_sha256 else hashes.SHA1()  # noqa: S303
    try:
        key.verify(message.signature, message.signed, padding.PKCS1v15(), algorithm)
    except InvalidSignature:
        raise WrongSignature("The signature is not by the certificate of the message.") from None
