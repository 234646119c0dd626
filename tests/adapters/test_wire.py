"""Reading requests as values."""

from collections.abc import Callable
from io import BytesIO
from typing import Any
from urllib.parse import unquote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.contract.batch_rules import MAX_BATCH_ENTRIES
from adapters.contract.forms import MAX_FIELDS, MAX_FORM_FIELDS, list_value, parse_form
from adapters.contract.json_values import MAX_DEPTH
from adapters.contract.wire import (
    CHUNK_BYTES,
    READ_BYTES,
    UnreadableRequest,
    WireRequest,
    json_reply,
)

BOUNDARY = "multipart/form-data; boundary=b"


def request(body: bytes, content_type: str = "") -> WireRequest:
    headers = {"content-type": content_type} if content_type else {}
    return WireRequest("POST", "/", headers=headers, body=body)


@pytest.mark.parametrize(
    ("body", "content_type", "fields"),
    [
        (b"", "", {}),
        (b"", "application/json", {}),
        (b'{"a": 1, "b": null}', "application/json", {"a": 1}),
        (b'{"a": {"b": null, "c": [null, {"d": null}]}}', "", {"a": {"c": [None, {"d": None}]}}),
        (b'\xef\xbb\xbf{"a": 1}', "application/json", {"a": 1}),
        (b'\xef\xbb\xbf {"a": 1}', "", {"a": 1}),
        (b"\xef\xbb\xbfa=1", "application/x-www-form-urlencoded", {"a": "1"}),
        (b'{"a": [1]}', "application/json; charset=utf-8", {"a": [1]}),
        (b' {"a": "x"}', "", {"a": "x"}),
        (b' {"a": "x"}', "text/plain", {"a": "x"}),
        (
            b"a=1&b=%C3%A9&c=&a=2",
            "application/x-www-form-urlencoded",
            {"a": "2", "b": "é", "c": ""},
        ),
        (b"a=x+y", "", {"a": "x y"}),
        (
            b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--b--\r\n',
            BOUNDARY,
            {"a": "x"},
        ),
    ],
)
def test_fields(body: bytes, content_type: str, fields: dict[str, Any]) -> None:
    assert request(body, content_type).fields == fields


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b"\xff\xfe", "application/json"),
        (b'"text"', "application/json"),
        (b"[" * 100_000, "application/json"),
        (b"x", "multipart/form-data"),
        (b"x", BOUNDARY),
        (b"&".join([b"a=1"] * (MAX_FORM_FIELDS + 1)), "application/x-www-form-urlencoded"),
    ],
)
def test_unreadable(body: bytes, content_type: str) -> None:
    with pytest.raises(UnreadableRequest):
        _ = request(body, content_type).fields


@pytest.mark.parametrize(("left", "right"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")])
def test_json_may_not_be_nested_deeply(left: bytes, right: bytes) -> None:
    levels = left.count(b"[") + left.count(b"{")
    deepest = MAX_DEPTH // levels
    allowed = WireRequest("POST", "/", body=left * deepest + b"1" + right * deepest)
    assert allowed.json is not None
    with pytest.raises(UnreadableRequest, match="nested"):
        _ = WireRequest("POST", "/", body=left * (deepest + 1) + b"1" + right * (deepest + 1)).json


def test_a_file_keeps_its_name_and_bytes() -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="local_file"; filename="l.csv"\r\n'
        b"Content-Type: text/csv\r\n\r\na@b.test\r\n\xff\r\n--b--\r\n"
    )
    (part,) = request(body, BOUNDARY).parts
    assert (part.name, part.filename, part.content) == ("local_file", "l.csv", b"a@b.test\r\n\xff")


def test_the_last_of_a_repeated_parameter_counts() -> None:
    assert WireRequest("GET", "/", "a=1&a=2&b").query == {"a": "2", "b": ""}


def test_a_query_has_a_limited_number_of_fields() -> None:
    assert WireRequest("GET", "/", "&".join(["a=1"] * MAX_FIELDS)).query == {"a": "1"}
    with pytest.raises(UnreadableRequest):
        _ = WireRequest("GET", "/", "&".join(["a=1"] * (MAX_FIELDS + 1))).query


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("l=a&l=b&l=c", "a\nb\nc"),
        ("l[]=a&l[]=b", "a\nb"),
        ("l%5B%5D=a&l%5B%5D=b", "a\nb"),
        ("l[0]=a&l[1]=b", "a\nb"),
        ("l[1]=b&x=y&l[0]=a", "a\nb"),
        ("l[]=a", "a"),
        ("l=a&l[]=b", "a\nb"),
        ("l=a,b", "a,b"),
        ("l=", ""),
        ("x=a", None),
    ],
)
def test_a_list_may_be_several_fields(query: str, found: str | None) -> None:
    assert list_value("l", WireRequest("GET", "/", query).query) == found


@pytest.mark.parametrize(
    ("content_type", "field"),
    [
        ("application/x-www-form-urlencoded", "emails=user{n}@b.test&"),
        (BOUNDARY, '--b\r\nContent-Disposition: form-data; name="emails"\r\n\r\nu{n}@b.test\r\n'),
    ],
)
def test_each_address_of_the_longest_list_may_be_a_field(content_type: str, field: str) -> None:
    body = "".join(field.replace("{n}", str(n)) for n in range(MAX_BATCH_ENTRIES))
    end = "--b--\r\n" if content_type == BOUNDARY else "x=1"
    found = list_value("emails", request((body + end).encode(), content_type).fields)
    assert found.count("\n") == MAX_BATCH_ENTRIES - 1


def test_a_list_is_that_of_the_first_source() -> None:
    first, second = parse_form("l=a"), parse_form("l=b&l=c&m=d&m=e")
    assert list_value("l", first, second) == "a"
    assert list_value("m", first, second) == "d\ne"
    assert list_value("l", {"l": ["x"]}, second) == ["x"]


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("alice+news@b.test", "alice+news@b.test"),
        ("alice%2Bnews@b.test", "alice+news@b.test"),
        ("alice%20news@b.test", "alice+news@b.test"),
        ("a+b+c@d.test", "a+b+c@d.test"),
        ("a++b@d.test", "a++b@d.test"),
        ("a+@d.test", "a+@d.test"),
        ("a+b@d.test,c@d.test,e+f@d.test", "a+b@d.test,c@d.test,e+f@d.test"),
        ("a+b@d.test%0Ac+d@d.test", "a+b@d.test\nc+d@d.test"),
        ("a@d.test,+b@d.test;+c+d@d.test", "a@d.test, b@d.test; c+d@d.test"),
        ("j%C3%BCrgen+x@d.test", "jürgen+x@d.test"),
        # blanks that a client meant
        ("%22a+b%22@d.test", '"a b"@d.test'),
        ("Ada+Lovelace+%3Cada@d.test%3E", "Ada Lovelace <ada@d.test>"),
        ("a@d.test+b@d.test", "a@d.test b@d.test"),
        ("a@d+e.test", "a@d e.test"),
        ("two+words", "two words"),
        ("+a@d.test+", " a@d.test "),
    ],
)
def test_a_blank_in_a_local_part_is_a_plus(sent: str, read: str) -> None:
    assert WireRequest("GET", "/", f"email={sent}").query["email"] == read
    form = request(f"email={sent}".encode(), "application/x-www-form-urlencoded")
    assert form.fields["email"] == read


def test_json_reply_keeps_the_order_of_keys_by_default() -> None:
    assert json_reply({"b": 1, "a": "é"}).body == '{"b":1,"a":"é"}'.encode()
    assert json_reply({"b": 1, "a": 2}, sort_keys=True).body == b'{"a":2,"b":1}'


READERS: list[Callable[[WireRequest], object]] = [
    lambda r: r.fields,
    lambda r: r.json,
    lambda r: r.json_object,
    lambda r: r.parts,
    lambda r: r.query,
]


@given(
    st.binary(max_size=200),
    st.sampled_from(
        [
            "",
            "application/json",
            BOUNDARY,
            "multipart/form-data",
            "application/x-www-form-urlencoded",
        ]
    ),
    st.text(max_size=50),
)
def test_any_bytes_are_read_or_unreadable(body: bytes, content_type: str, query: str) -> None:
    asked = WireRequest("POST", "/", query, {"content-type": content_type}, body)
    for read in READERS:
        try:
            read(asked)
        except UnreadableRequest:
            continue


@given(
    text=st.text("%4cC3aA9+ ", max_size=40),
    before=st.integers(32 * 1024 - 45, 32 * 1024 + 5),
)
def test_a_long_value_is_decoded_as_a_short_one(text: str, before: int) -> None:
    """It is decoded in pieces, none of which ends within an escape."""
    value = "a" * before + text + "%C3%A9" * 500
    assert parse_form(f"x={value}")["x"] == unquote_plus(value)


def test_a_value_with_more_entries_than_a_list_has_is_left_as_it_is() -> None:
    value = "a@b.c,+" * MAX_FORM_FIELDS + ","
    assert parse_form(f"x={value}")["x"] == value.replace("+", " ")
    assert parse_form("x=a+b@c.d,+e")["x"] == "a+b@c.d, e"


def test_a_body_file_is_read_a_few_times_and_parsed_in_small_chunks() -> None:
    """Each read lets the event loop try for the interpreter's lock, which it gets if it has waited
    long enough since the one before."""

    class CountedReads(BytesIO):
        reads = 0

        def read(self, size: int | None = -1, /) -> bytes:
            self.reads += 1
            return super().read(size)

    body = bytes(range(256)) * 4096 * 3 + b"end"
    file = CountedReads(body)
    chunks = list(WireRequest("POST", "/", body_file=file).chunks())
    assert b"".join(chunks) == body
    assert max(map(len, chunks)) == CHUNK_BYTES
    assert file.reads == len(body) // READ_BYTES + 2  # the rest, and the end
