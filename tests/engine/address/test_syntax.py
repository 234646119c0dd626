"""Syntax: cases of RFC 5321, 5322 and 6531, and arbitrary text."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.address import syntax
from engine.address.syntax import parse_address

VALID = [
    # text, local, domain, A-label domain
    ("alice@postfix.test", "alice", "postfix.test", "postfix.test"),
    ("  alice@postfix.test\r\n", "alice", "postfix.test", "postfix.test"),
    ("ALICE@Postfix.TEST", "ALICE", "postfix.test", "postfix.test"),
    ("INFO@postfix.test", "INFO", "postfix.test", "postfix.test"),
    ("alice+news@postfix.test", "alice+news", "postfix.test", "postfix.test"),
    ("o'neil@postfix.test", "o'neil", "postfix.test", "postfix.test"),
    ("!#$%&'*+-/=?^_`{|}~@example.com", "!#$%&'*+-/=?^_`{|}~", "example.com", "example.com"),
    ("user@printer.local", "user", "printer.local", "printer.local"),
    ("user@unserved.example", "user", "unserved.example", "unserved.example"),
    ("user@bücher.test", "user", "bücher.test", "xn--bcher-kva.test"),
    ("user@BÜCHER.test", "user", "bücher.test", "xn--bcher-kva.test"),
    ("user@xn--bcher-kva.test", "user", "bücher.test", "xn--bcher-kva.test"),
    ("user@faß.de", "user", "faß.de", "xn--fa-hia.de"),
    ("user@日本。jp", "user", "日本.jp", "xn--wgv71a.jp"),
    ("jörg@bücher.test", "jörg", "bücher.test", "xn--bcher-kva.test"),
    ("jo\u0308rg@bücher.test", "jörg", "bücher.test", "xn--bcher-kva.test"),
    ("用户@example.com", "用户", "example.com", "example.com"),
    ('"a@b"@example.com', '"a@b"', "example.com", "example.com"),
    ('"a..b"@example.com', '"a..b"', "example.com", "example.com"),
    ("a" * 64 + "@example.com", "a" * 64, "example.com", "example.com"),
]


@pytest.mark.parametrize(("text", "local", "domain", "ascii_domain"), VALID)
def test_valid(text: str, local: str, domain: str, ascii_domain: str) -> None:
    address = parse_address(text)
    assert address.error is None
    assert (address.local, address.domain, address.ascii_domain) == (local, domain, ascii_domain)
    assert address.raw == text.strip()


INVALID = [
    # text, local, domain, A-label domain, part of the error
    ("", "", "", "", "empty"),
    (" \t ", "", "", "", "empty"),
    ("not-an-address", "", "", "", "no @"),
    ("alice\N{FULLWIDTH COMMERCIAL AT}example.com", "", "", "", "look-alike"),
    ("@example.com", "", "example.com", "example.com", "nothing before"),
    ("alice@", "alice", "", "", "nothing after"),
    ("a@b@postfix.test", "a@b", "postfix.test", "postfix.test", "more than one @"),
    ("a@x.org, b@y.org", "a@x.org, b", "y.org", "y.org", "space"),
    ("a@x.org,b@y.org", "a@x.org,b", "y.org", "y.org", "one at a time"),
    ("Alice <alice@example.com>", "Alice <alice", "example.com>", "", "angle brackets"),
    ("mailto:alice@example.com", "mailto:alice", "example.com", "example.com", "mailto:"),
    (".a@example.com", ".a", "example.com", "example.com", "starts with a dot"),
    ("a.@example.com", "a.", "example.com", "example.com", "ends with a dot"),
    ("a..b@postfix.test", "a..b", "postfix.test", "postfix.test", "two dots"),
    ("a b@example.com", "a b", "example.com", "example.com", "space"),
    ('"a b"@example.com', '"a b"', "example.com", "example.com", "space"),
    ("a@exa mple.com", "a", "exa mple.com", "", "space"),
    ("a\u00a0b@example.com", "a\u00a0b", "example.com", "example.com", "space"),
    ("a\r\nRCPT TO:<b>@example.com", "a\r\nRCPT TO:<b>", "example.com", "example.com", "angle"),
    ("a\r\nQUIT@example.com", "a\r\nQUIT", "example.com", "example.com", "line break"),
    ("a@example.com\r\nQUIT", "a", "example.com\r\nquit", "", "line break"),
    ("a\x00b@example.com", "a\x00b", "example.com", "example.com", "control"),
    ("a\u200bb@example.com", "a\u200bb", "example.com", "example.com", "invisible"),
    ("a\ud800@example.com", "a\ufffd", "example.com", "example.com", "unreadable"),
    ("a" * 65 + "@postfix.test", "a" * 65, "postfix.test", "postfix.test", "64 octets"),
    ("ö" * 33 + "@postfix.test", "ö" * 33, "postfix.test", "postfix.test", "64 octets"),
    ("ab@dd", "ab", "dd", "", "no dot"),
    ("a@[192.0.2.1]", "a", "[192.0.2.1]", "", "IP address"),
    ("a@[IPv6:2001:db8::1]", "a", "[ipv6:2001:db8::1]", "", "IP address"),
    ("a@192.0.2.1", "a", "192.0.2.1", "", "ends with a digit"),
    ("a@.example.com", "a", ".example.com", "", "starts with a dot"),
    ("a@example.com.", "a", "example.com.", "", "ends with a dot"),
    ("a@example..com", "a", "example..com", "", "two dots"),
    ("a@-example.com", "a", "-example.com", "", "hyphen"),
    ("a@exa_mple.com", "a", "exa_mple.com", "", "underscore"),
    ("a@exa,mple.com", "a", "exa,mple.com", "", "','"),
    ("a(c)@example.com", "a(c)", "example.com", "example.com", "'('"),
    ("a@" + "b" * 64 + ".com", "a", "b" * 64 + ".com", "", "63 octets"),
    (
        "a@" + ".".join(["b" * 49] * 5) + ".abcdef",
        "a",
        ".".join(["b" * 49] * 5) + ".abcdef",
        "",
        "253",
    ),
    ("a@ab--cd.com", "a", "ab--cd.com", "", "dashes"),
    ("a@☃.com", "a", "☃.com", "", "not allowed"),
    ("ab@" + "b." * 125 + "cc", "ab", "b." * 125 + "cc", "b." * 125 + "cc", "254"),
    ("a" * 400 + "@example.com", "a" * 400, "example.com", "", "too long: 412 octets"),
    ("ö" * 400 + "@example.com", "ö" * 400, "example.com", "", "too long: 812 octets"),
]


@pytest.mark.parametrize(("text", "local", "domain", "ascii_domain", "error"), INVALID)
def test_invalid(text: str, local: str, domain: str, ascii_domain: str, error: str) -> None:
    address = parse_address(text)
    assert not address.valid
    assert error in (address.error or "")
    assert (address.local, address.domain, address.ascii_domain) == (local, domain, ascii_domain)


def test_limits_are_inclusive() -> None:
    domain = "b." * 94 + "c"  # 189 octets
    assert parse_address("a" * 64 + "@" + domain).valid  # 254 octets
    assert not parse_address("a" * 64 + "@b" + domain).valid
    assert not parse_address("a" * 65 + "@" + domain[2:]).valid
    assert parse_address("a@" + "b" * 63 + ".com").valid


@pytest.mark.parametrize(
    "text",
    ["a" * 1_000_000, "@" * 1_000_000, "a@" * 500_000, ("a." * 500_000) + "@" + "b." * 500_000],
)
def test_a_text_of_a_megabyte_takes_no_time(text: str) -> None:
    started = time.process_time()
    assert not parse_address(text).valid
    assert time.process_time() - started < 0.2


ANY_TEXT = st.one_of(
    st.text(),
    st.text(
        alphabet=st.characters(categories=["Cs", "Cc", "Cf", "Zs"]) | st.sampled_from("@.a\\\"'")
    ),
    st.from_regex(r"\A[ -~]{0,12}@[ -~]{0,12}\Z"),
    st.from_regex(r"\A[a-zA-Z0-9.\"\\_-]{0,9}@[a-zA-Z0-9.-]{0,12}\Z"),
    st.emails(),
)


@given(ANY_TEXT)
def test_any_text_is_parsed(text: str) -> None:
    address = parse_address(text)
    for part in (address.raw, address.local, address.domain, address.ascii_domain):
        part.encode()  # raises if the part could not be stored or sent
    assert address.ascii_domain.isascii()
    assert address.error is None or address.error.endswith(".")
    if address.valid:
        assert address.local
        assert "." in address.ascii_domain
        for part in (address.local, address.domain, address.ascii_domain):
            assert part.isprintable()
            assert " " not in part
        assert not {*"<>@[]()\\,;: "} & {*address.ascii_domain}
        reparsed = parse_address(address.normalized)
        assert (reparsed.local, reparsed.domain) == (address.local, address.domain)


@settings(max_examples=200)
@given(ANY_TEXT)
def test_plain_addresses_are_parsed_as_email_validator_would(text: str) -> None:
    address = parse_address(text)
    if syntax._is_plain(address.raw, address.local, address.raw.rpartition("@")[2]):
        assert (
            syntax._parse_with_library(address.raw, address.local, address.raw.rpartition("@")[2])
            == address
        )


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("a..b@docomo.ne.jp", '"a..b"'),
        ("abc.@docomo.ne.jp", '"abc."'),
        (".abc@ezweb.ne.jp", '".abc"'),
        ("a...b.@EZWEB.NE.JP", '"a...b."'),
        ("a..b@sub.ezweb.ne.jp", '"a..b"'),
        ('"a..b"@docomo.ne.jp', '"a..b"'),
        ("a.b@docomo.ne.jp", "a.b"),
    ],
)
def test_old_mailboxes_of_japanese_carriers_are_quoted(text: str, local: str) -> None:
    address = parse_address(text)
    assert (address.error, address.local, address.raw) == (None, local, text)
    assert address.normalized == f"{local}@{text.rpartition('@')[2].lower()}"


@pytest.mark.parametrize(
    "text", ["a..b@notdocomo.ne.jp", "a..b@ne.jp", "a..b,c@docomo.ne.jp", "..@@docomo.ne.jp"]
)
def test_other_odd_dots_stay_invalid(text: str) -> None:
    assert not parse_address(text).valid
