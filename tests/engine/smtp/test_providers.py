"""Operators of mail hosts, by the suffix of the host name."""

from __future__ import annotations

import pytest

from engine.smtp.providers import PROVIDERS, pacing_operator, provider_of, reputation_operator


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("gmail-smtp-in.l.google.com", "google"),
        ("aspmx3.googlemail.com", "google"),
        ("smtp.google.com", "google"),
        ("outlook-com.olc.protection.outlook.com", "microsoft"),
        ("example-com.mail.protection.outlook.com", "microsoft"),
        ("example-com.e-v1.mx.microsoft", "microsoft"),
        ("mta5.am0.yahoodns.net", "yahoo"),
        ("mx01.mail.icloud.com", "apple"),
        ("mx.zoho.eu", "zoho"),
        ("mail.protonmail.ch", "proton"),
        ("eu-smtp-inbound-1.mimecast.com", "mimecast"),
        ("mxa-0001.gslb.pphosted.com", "proofpoint"),
        ("d1.ess.barracudanetworks.com", "barracuda"),
        ("in1-smtp.messagingengine.com", "fastmail"),
        ("mx.yandex.net", "yandex"),
        ("mxs.mail.ru", "mailru"),
        ("mx00.emig.gmx.net", "gmx"),
        ("mx1.mail.ovh.net", "ovh"),
        ("mx1.qq.com", "tencent"),
        ("mx.example.com", None),
        ("notgoogle.com", None),
        ("google.com.example.net", None),
        ("", None),
    ],
)
def test_the_provider_of_a_mail_host(host: str, provider: str | None) -> None:
    assert provider_of(host) == provider


def test_no_suffix_belongs_to_two_providers() -> None:
    suffixes = [suffix for provider in PROVIDERS for suffix in provider.suffixes]
    assert len(suffixes) == len(set(suffixes))
    assert all(provider.source for provider in PROVIDERS)


@pytest.mark.parametrize(
    ("host", "for_pacing", "for_reputation"),
    [
        ("gmail-smtp-in.l.google.com", "google", "google"),
        ("mx1.example.co.uk", "mx1.example.co.uk", "example.co.uk"),
        ("localhost", "localhost", "localhost"),
    ],
)
def test_unknown_hosts_are_paced_alone_and_share_a_reputation(
    host: str, for_pacing: str, for_reputation: str
) -> None:
    assert pacing_operator(host) == for_pacing
    assert reputation_operator(host) == for_reputation
