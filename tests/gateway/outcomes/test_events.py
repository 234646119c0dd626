"""The events of mail services: their documented examples, and who is not let in."""

from __future__ import annotations

import base64
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.app import Services, open_services
from gateway.outcomes.events import mailgun, postmark, sendgrid, ses, sns
from gateway.outcomes.events.receiver import FETCHES_PER_MINUTE, MailEvents
from gateway.outcomes.events.terms import (
    MAX_EVENTS,
    MissingExtra,
    TryAgainLater,
    WrongSignature,
)
from gateway.outcomes.events.tokens import EventTokens
from gateway.outcomes.reading import ReadOutcomes, UnreadableOutcomes
from gateway.outcomes.terms import MailOutcome
from gateway.settings import Settings
from gateway.settings.storage import OutcomesSettings
from gateway.store import Store, open_store
from gateway.web.dispatch import create_app
from gateway.web.mail_events import MAX_EVENT_BYTES
from tests.gateway.outcomes import events
from tests.gateway.outcomes.events import MAILGUN_KEY, NOW, POSTMARK_TOKEN, fixture

TOPIC = fixture("ses")["notification"]["TopicArn"]
CERTIFICATE_URL = fixture("ses")["notification"]["SigningCertURL"]
READERS: dict[str, Callable[[Any], ReadOutcomes]] = {
    "sendgrid": lambda event: sendgrid.read(json.dumps([event]).encode(), NOW),
    "mailgun": lambda event: mailgun.read(events.mailgun_body(event), NOW),
    "postmark": lambda event: postmark.read(json.dumps(event).encode(), NOW),
    "ses": lambda event: ses.read(json.dumps(event), NOW),
}
EXAMPLES = [
    pytest.param(service, example, id=f"{service}: {example['about']}")
    for service in READERS
    for example in fixture(service)["events"]
]


def as_rows(found: Iterable[MailOutcome]) -> list[dict[str, Any]]:
    return [
        {
            "email": each.address.normalized,
            "outcome": each.outcome.value,
            "at": int(each.at),
            "code": each.code,
            "text": each.text,
        }
        for each in found
    ]


@pytest.mark.parametrize(("service", "example"), EXAMPLES)
def test_documented_events(service: str, example: dict[str, Any]) -> None:
    assert fixture(service)["sources"]
    read = READERS[service](example["event"])
    assert as_rows(read.outcomes) == example["outcomes"]
    assert read.ignored == (not example["outcomes"])
    assert not read.refused


@pytest.mark.parametrize("service", READERS)
@pytest.mark.parametrize(
    "junk",
    [
        {},
        {"event": "new_kind", "email": "a@b.co", "timestamp": 1},
        {"event": ["delivered"]},
        {"event": "delivered", "email": {"a": 1}, "recipient": [], "timestamp": 1},
        {"event": "delivered", "email": "a@b.co", "recipient": "a@b.co"},
        {"event": "delivered", "email": "a@b.co", "recipient": "a@b.co", "timestamp": {}},
        {"event": "delivered", "email": "a@b.co", "recipient": "a@b.co", "timestamp": 9e99},
        {"event": "failed", "recipient": "nobody", "delivery-status": [1], "timestamp": 1},
        {"event": "bounce", "email": "a\u0000@b.co", "reason": "\u0000", "timestamp": 1},
        {"RecordType": "Bounce", "Type": "New", "Email": "a@b.co"},
        {"RecordType": "Delivery", "Recipient": 7, "DeliveredAt": "soon"},
        {"RecordType": 7},
        {"eventType": "Bounce"},
        {"eventType": "Bounce", "bounce": {"bounceSubType": []}},
        {"eventType": "Complaint", "complaint": {"complaintSubType": {}}},
        {"eventType": "Bounce", "bounce": {"bouncedRecipients": [7]}},
        {"eventType": "Bounce", "bounce": {"bouncedRecipients": {"emailAddress": "a@b.co"}}},
        {"eventType": "Delivery", "delivery": {"recipients": [None], "timestamp": 1}},
        {"eventType": "Subscription", "subscription": 7},
        {"eventType": 7},
        7,
        None,
        [[[]]],
    ],
)
def test_rubbish_is_refused_and_counted(service: str, junk: Any) -> None:
    try:
        read = READERS[service](junk)
    except UnreadableOutcomes:
        return
    assert (len(read.outcomes), read.refused_count + read.ignored) == (0, 1)


def test_an_event_without_a_time_would_count_twice_and_is_refused() -> None:
    event = {"event": "delivered", "email": "a@b.co"}
    assert READERS["sendgrid"](event).refused == [(1, "has no time")]


def test_long_arrays_are_refused() -> None:
    with pytest.raises(UnreadableOutcomes, match="at most"):
        sendgrid.read(json.dumps([{}] * (MAX_EVENTS + 1)).encode(), NOW)
    with pytest.raises(UnreadableOutcomes, match="not valid JSON"):
        sendgrid.read(b"[" * 100_000, NOW)


def test_an_event_that_is_nested_too_deeply_is_refused() -> None:
    """To write it again, as its digest needs it, fails beyond a few hundred levels."""
    nested: Any = []
    for _ in range(500):
        nested = [nested]
    body = events.mailgun_body({"event": "delivered", "nested": nested})
    with pytest.raises(UnreadableOutcomes, match="levels deep"):
        mailgun.verify(body, [events.MAILGUN_KEY], NOW)


# -- SendGrid ----------------------------------------------------------------------------


def published_sendgrid(**changes: str) -> tuple[dict[str, str], bytes, list[str]]:
    signed = {**fixture("sendgrid")["signed"], **changes}
    headers = {
        sendgrid.SIGNATURE_HEADER: signed["signature"],
        sendgrid.TIMESTAMP_HEADER: signed["timestamp"],
    }
    return headers, signed["body"].encode(), [signed["public_key"]]


def test_the_published_signature_of_sendgrid() -> None:
    headers, body, keys = published_sendgrid()
    other = fixture("sendgrid")["signed"]["other_public_key"]
    sendgrid.verify(headers, body, keys)
    sendgrid.verify(headers, body, ["rubbish", other, *keys])
    pem = f"-----BEGIN PUBLIC KEY-----\n{keys[0][:64]}\n{keys[0][64:]}\n-----END PUBLIC KEY-----"
    sendgrid.verify(headers, body, [pem])


@pytest.mark.parametrize(
    "changes",
    [
        {"public_key": fixture("sendgrid")["signed"]["other_public_key"]},
        {"public_key": "rubbish"},
        {"signature": fixture("sendgrid")["signed"]["other_signature"]},
        {"signature": ""},
        {"signature": "not base64!"},
        {"signature": "QUJD"},
        {"timestamp": "timestamp"},
        {"timestamp": ""},
        {"timestamp": "\u0100"},
        {"body": "payload"},
        {"body": fixture("sendgrid")["signed"]["body"].strip()},
    ],
)
def test_wrong_signatures_of_sendgrid(changes: dict[str, str]) -> None:
    with pytest.raises(WrongSignature):
        sendgrid.verify(*published_sendgrid(**changes))


@pytest.mark.parametrize("key", ["rubbish!", "QUJD", ["QUJD"], 7, "env:UNSET"])
def test_a_key_that_is_none_is_refused_at_start(key: Any) -> None:
    with pytest.raises(ValueError, match=r"sendgrid_public_key"):
        OutcomesSettings.model_validate(
            {"sendgrid_public_key": key}, context={"environ": {"SET": "QUJD"}}
        )


def test_without_the_extra_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    monkeypatch.setitem(sys.modules, "cryptography.x509", None)
    with pytest.raises(MissingExtra, match=r"pip install 'veriplex\[outcomes\]'"):
        sendgrid.verify(*published_sendgrid())
    with pytest.raises(MissingExtra, match=r"pip install 'veriplex\[outcomes\]'"):
        sns.read_certificate(b"", NOW)


# -- Mailgun -----------------------------------------------------------------------------

DELIVERED = fixture("mailgun")["events"][0]["event"]


def test_signatures_of_mailgun() -> None:
    for name in ("signature", "parent-signature"):
        mailgun.verify(events.mailgun_body(DELIVERED, name=name), ["other", MAILGUN_KEY], NOW)
    for body in (
        events.mailgun_body(DELIVERED, key="other"),
        events.mailgun_body(DELIVERED, at=NOW - 25 * 3600),
        events.mailgun_body(DELIVERED, at=NOW + 3600),
        events.mailgun_body(DELIVERED, token="x" * 1000),
        events.mailgun_body(DELIVERED, token="\u0100"),
        b"{}",
        b'{"signature": "x"}',
        b'{"signature": {"timestamp": true, "token": 7, "signature": []}}',
        b'{"signature": {"timestamp": "1", "token": "x"}}',
        b'{"signature": {"timestamp": "1", "token": "x", "signature": "\xc3\xa4"}}',
    ):
        with pytest.raises(WrongSignature):
            mailgun.verify(body, [MAILGUN_KEY], NOW)
    for body in (b"", b"[]", b"7", b"\xff"):
        with pytest.raises(UnreadableOutcomes):
            mailgun.verify(body, [MAILGUN_KEY], NOW)


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    async with open_store(database_url) as opened:
        yield opened


async def test_a_token_comes_with_one_event_alone(store: Store) -> None:
    tokens = EventTokens(store)
    first = mailgun.verify(events.mailgun_body(DELIVERED), [MAILGUN_KEY], NOW)
    forged = {**DELIVERED, "recipient": "victim@example.com"}
    second = mailgun.verify(events.mailgun_body(forged), [MAILGUN_KEY], NOW)
    await tokens.use(first, NOW)
    await tokens.use(first, NOW)  # tried again, since our reply was lost
    with pytest.raises(WrongSignature, match="another event"):
        await tokens.use(second, NOW)
    await EventTokens(store).use(second, NOW + 2 * mailgun.MAX_AGE_S)  # the other is gone by now


# -- Postmark ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        events.postmark_headers(),
        events.postmark_headers(name=""),
        {"authorization": f"bearer {POSTMARK_TOKEN}"},
        {"x-veriplex-token": POSTMARK_TOKEN},
    ],
)
def test_tokens_of_postmark(headers: dict[str, str]) -> None:
    postmark.verify(headers, ["other", POSTMARK_TOKEN])
    with pytest.raises(WrongSignature):
        postmark.verify(headers, ["other"])


def test_a_token_of_postmark_may_have_the_name() -> None:
    postmark.verify(events.postmark_headers(name="me"), [f"me:{POSTMARK_TOKEN}"])
    with pytest.raises(WrongSignature):
        postmark.verify(events.postmark_headers(name="you"), [f"me:{POSTMARK_TOKEN}"])


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Basic"},
        {"authorization": "Basic !!!"},
        {"authorization": f"Digest {POSTMARK_TOKEN}"},
        {"authorization": f"Basic {base64.b64encode(b':').decode()}"},
        {"authorization": f"Basic {base64.b64encode(POSTMARK_TOKEN[:-1].encode()).decode()}"},
        {"x-veriplex-token": f"{POSTMARK_TOKEN} "},
    ],
)
def test_wrong_tokens_of_postmark(headers: dict[str, str]) -> None:
    with pytest.raises(WrongSignature):
        postmark.verify(headers, [POSTMARK_TOKEN])


# -- SNS ---------------------------------------------------------------------------------

BOUNCE = fixture("ses")["events"][0]["event"]
REGION = "us-west-2"
BAD_HOSTS = [
    "http://sns.us-west-2.amazonaws.com",
    "HTTPS://sns.us-west-2.amazonaws.com",
    "https://sns.us-west-2.amazonaws.com:8443",
    "https://sns.us-west-2.amazonaws.com:443",
    "https://user@sns.us-west-2.amazonaws.com",
    "https://sns.us-west-2.amazonaws.com@evil.example",
    "https://sns.us-west-2.amazonaws.com.evil.example",
    "https://sns.us-west-2.amazonaws.com.",
    "https://evil.example/sns.us-west-2.amazonaws.com",
    "https://evil.example#.amazonaws.com",
    "https://evil.example\\.amazonaws.com",
    "https://sns-us-west-2.amazonaws.com",
    "https://bucket.s3.amazonaws.com",
    "https://sns.us-west-2.s3.amazonaws.com",
    "https://ec2-1-2-3-4.us-west-2.compute.amazonaws.com",
    "https://sns.us-east-1.amazonaws.com",  # of another region than the topic's
    "https://sns.us-west-2.amazonaws.com\n",
    "https://sns.us-west-2.amazonaws\u3002com",
    "https://127.0.0.1",
    "https://169.254.169.254",
    "https://[::1]",
    "https://[",
    "file://sns.us-west-2.amazonaws.com",
    "//sns.us-west-2.amazonaws.com",
    "",
]


@pytest.mark.parametrize("host", BAD_HOSTS)
def test_hosts_that_are_not_of_sns(host: str) -> None:
    path = "/SimpleNotificationService-f3ecfb7224c7233fe7bb5f59f96de52f.pem"
    assert sns.is_certificate_url(f"https://sns.us-west-2.amazonaws.com{path}", TOPIC)
    assert not sns.is_certificate_url(host + path, TOPIC)
    query = f"/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=1"
    assert sns.is_subscribe_url(f"https://sns.us-west-2.amazonaws.com{query}", TOPIC)
    assert not sns.is_subscribe_url(host + query, TOPIC)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/evil.pem",
        "/SimpleNotificationService-f3ecfb7224c7233f.pem?x=1",
        "/SimpleNotificationService-f3ecfb7224c7233f.pem#x",
        "/x/../SimpleNotificationService-f3ecfb7224c7233f.pem",
        "/SimpleNotificationService-f3ecfb72%2e4c7233f.pem",
        "/?Action=DeleteTopic&TopicArn=" + TOPIC,
        "/?Action=ConfirmSubscription&Action=DeleteTopic&TopicArn=" + TOPIC,
        "/?Action=ConfirmSubscription&TopicArn=" + TOPIC + "-other",
        "/x?Action=ConfirmSubscription&TopicArn=" + TOPIC,
        "/?Action=ConfirmSubscription&TopicArn=" + TOPIC + "&x=" + "y" * 3000,
        "/?" + "a=b&" * 200,
    ],
)
def test_paths_that_are_not_of_sns(path: str) -> None:
    assert not sns.is_certificate_url(f"https://sns.us-west-2.amazonaws.com{path}", TOPIC)
    assert not sns.is_subscribe_url(f"https://sns.us-west-2.amazonaws.com{path}", TOPIC)


class Fetched:
    """What is at URLs; counts what was asked for."""

    def __init__(self, **at: bytes | str) -> None:
        self.found: dict[str, bytes | str] = {CERTIFICATE_URL: events.certificate(), **at}
        self.asked: list[str] = []

    @contextlib.asynccontextmanager
    async def __call__(
        self, url: str, max_bytes: int
    ) -> AsyncIterator[Callable[[], Iterable[bytes]] | str]:
        self.asked.append(url)
        found = self.found.get(url, b"")
        yield found if isinstance(found, str) else (lambda: [found])


class Kept:
    """Where outcomes go."""

    def __init__(self) -> None:
        self.outcomes: list[MailOutcome] = []

    async def __call__(self, given: Iterable[MailOutcome], service: str) -> int:
        self.outcomes += given
        return 0


class Receiver:
    def __init__(self, **settings: Any) -> None:
        self.fetch, self.kept = Fetched(), Kept()
        chosen = OutcomesSettings.model_validate({"ses_topics": [TOPIC], **settings})
        no_tokens: Any = None
        self.now = NOW
        self.events = MailEvents(chosen, self.kept, no_tokens, self.fetch, clock=lambda: self.now)

    async def send(self, message: Any) -> int:
        """How many outcomes were stored."""
        body = json.dumps(message).encode()
        return (await self.events.receive("ses", {}, body)).stored


@pytest.mark.parametrize("version", ["1", "2"])
async def test_a_signed_message_is_taken(version: str) -> None:
    receiver = Receiver()
    assert await receiver.send(events.sns_message(BOUNCE, version=version)) == 1
    assert await receiver.send(events.sns_message(BOUNCE, version=version, Subject=None)) == 1
    assert receiver.fetch.asked == [CERTIFICATE_URL]  # once
    receiver.now += 2 * 24 * 3600
    await receiver.send(events.sns_message(BOUNCE, version=version))
    assert receiver.fetch.asked == [CERTIFICATE_URL] * 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"Message": "{}"}, "not by the certificate"),
        ({"Subject": "other"}, "not by the certificate"),
        ({"Timestamp": "2013-05-02T00:54:06.655Z"}, "not by the certificate"),
        ({"SignatureVersion": "2"}, "not by the certificate"),
        ({"SignatureVersion": "3"}, "SignatureVersion"),
        ({"Signature": "AAAA"}, "not by the certificate"),
        ({"Signature": "!"}, "base64"),
        ({"TopicArn": TOPIC + "2"}, "ses_topics"),
        ({"SigningCertURL": "https://evil.example/x.pem"}, "SigningCertURL"),
    ],
)
async def test_a_changed_message_is_refused(change: dict[str, str], words: str) -> None:
    receiver = Receiver()
    with pytest.raises(WrongSignature, match=words):
        await receiver.send({**events.sns_message(BOUNCE), **change})
    assert receiver.kept.outcomes == []


@pytest.mark.parametrize(
    ("pem", "words"),
    [
        (b"", "cannot be read"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be read"),
        (events.certificate(at=NOW - 60 * 86_400), "not valid now"),
        (events.certificate(at=NOW + 60 * 86_400), "not valid now"),
        (events.certificate(ec.generate_private_key(ec.SECP256R1())), "no RSA key"),
    ],
)
async def test_certificates_that_do_not_count(pem: bytes, words: str) -> None:
    receiver = Receiver()
    receiver.fetch.found[CERTIFICATE_URL] = pem
    with pytest.raises(WrongSignature, match=words):
        await receiver.send(events.sns_message(BOUNCE))


async def test_a_subscription_is_confirmed_only_if_it_is_signed() -> None:
    receiver = Receiver()
    message = events.sns_message()
    with pytest.raises(WrongSignature):
        await receiver.send({**message, "Token": "other"})
    assert receiver.fetch.asked == [CERTIFICATE_URL]
    await receiver.send(message)
    assert receiver.fetch.asked[1:] == [message["SubscribeURL"]]
    other = "https://169.254.169.254/?Action=ConfirmSubscription&TopicArn=" + TOPIC
    with pytest.raises(WrongSignature, match="SubscribeURL"):
        await receiver.send(events.sns_message(SubscribeURL=other))
    await receiver.send(events.sns_message(Type="UnsubscribeConfirmation"))
    assert receiver.fetch.asked[1:] == [message["SubscribeURL"]]  # it stays ended
    receiver.fetch.found[message["SubscribeURL"]] = "away"
    with pytest.raises(TryAgainLater, match="could not be fetched"):
        await receiver.send(message)


async def test_strangers_cannot_make_it_fetch_without_end() -> None:
    receiver = Receiver()
    message = events.sns_message(BOUNCE)
    for n in range(2 * FETCHES_PER_MINUTE):
        url = CERTIFICATE_URL.replace("f3ecfb72", f"{n:08d}")
        with pytest.raises((WrongSignature, TryAgainLater)):
            await receiver.send({**message, "SigningCertURL": url})
    assert len(receiver.fetch.asked) == FETCHES_PER_MINUTE
    receiver.now += 61
    assert await receiver.send(message) == 1


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b'{"Type": "Other"}', b'{"Type": 7}', b"\xff", b'"\\ud800"'],
)
async def test_what_is_no_message_of_sns(body: bytes) -> None:
    with pytest.raises(UnreadableOutcomes):
        await Receiver().events.receive("ses", {}, body)


async def test_raw_delivery_is_explained() -> None:
    with pytest.raises(WrongSignature, match="raw message delivery"):
        await Receiver().send(BOUNCE)


async def test_the_first_message_of_ses_is_no_fault() -> None:
    text = "Successfully validated SNS topic for Amazon SES event publishing."
    assert await Receiver().send(events.sns_message(text)) == 0


# -- over HTTP ---------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def open_server(
    database_url: str = "sqlite:///:memory:", **outcomes: Any
) -> AsyncIterator[tuple[Services, httpx.AsyncClient]]:
    settings = Settings.model_validate(
        {"storage": {"url": database_url}, "outcomes": outcomes},
        context={"environ": {"MAILGUN": MAILGUN_KEY, "POSTMARK": POSTMARK_TOKEN}},
    )
    async with open_services(settings, clock=lambda: NOW) as services:
        transport = httpx.ASGITransport(create_app(services))
        async with httpx.AsyncClient(
            transport=transport, base_url="http://veriplex.test/veriplex/v1/outcomes"
        ) as client:
            yield services, client


ALL: dict[str, Any] = {
    "ses_topics": [TOPIC],
    "sendgrid_public_key": events.sendgrid_public_key(),
    "mailgun_signing_key": ["env:MAILGUN"],
    "postmark_token": "env:POSTMARK",
}


async def test_events_over_http(database_url: str) -> None:
    async with open_server(database_url, **ALL) as (services, client):
        body = json.dumps([e["event"] for e in fixture("sendgrid")["events"]] + [{}]).encode()
        headers = events.sendgrid_headers(body)
        for _ in range(2):  # the same request twice is kept once
            reply = await client.post("/sendgrid", content=body, headers=headers)
            assert reply.status_code == 200, reply.text
            found = reply.json()
            assert (found["received"], found["refused"], found["ignored"]) == (13, 1, 4)
            assert found["stored"] == 8
        assert (await client.post("/sendgrid", content=body + b" ", headers=headers)).json() == {
            "type": "about:blank",
            "title": "Unauthorized",
            "status": 401,
            "detail": "The signature is not by outcomes.sendgrid_public_key.",
        }
        bounce = fixture("mailgun")["events"][1]["event"]
        forged = events.mailgun_body({**bounce, "recipient": "other@example.com"})
        replies = [
            await client.post("/mailgun", content=content)
            for content in (events.mailgun_body(bounce), events.mailgun_body(bounce), forged)
        ]
        assert [reply.status_code for reply in replies] == [200, 200, 401]
        event = fixture("postmark")["events"][0]["event"]
        sent = await client.post("/postmark", json=event, headers=events.postmark_headers())
        assert sent.json()["stored"] == 1
        assert (await client.post("/postmark", json=event)).status_code == 401
        assert services.outcomes is not None
        counts = await services.outcomes.records.counts()
        assert counts == {
            "delivered": 1, "hard_bounce": 3, "soft_bounce": 1, "complaint": 1, "unsubscribed": 1,
        }  # fmt: skip


async def test_what_is_not_taken_over_http() -> None:
    async with open_server(**ALL) as (_, client):
        assert (await client.post("/mandrill", json=[])).status_code == 404
        assert (await client.get("/ses")).status_code == 405
        big = b"[" + b" " * MAX_EVENT_BYTES + b"]"
        assert (await client.post("/sendgrid", content=big)).status_code == 413
        bomb = {"Content-Encoding": "gzip"}
        assert (await client.post("/sendgrid", content=b"x", headers=bomb)).status_code == 415
        assert (await client.post("/mailgun", content=b"{")).status_code == 400
    async with open_server() as (_, client):
        for service, setting in (("ses", "ses_topics"), ("mailgun", "mailgun_signing_key")):
            reply = await client.post(f"/{service}", json={})
            assert reply.status_code == 404
            assert f"outcomes.{setting} is not set" in reply.json()["detail"]
    async with open_server(keep_days=0, **ALL) as (_, client):
        assert (await client.post("/ses", json={})).status_code == 404
