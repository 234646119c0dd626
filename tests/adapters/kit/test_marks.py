"""The marks that people and mail programs put around addresses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.kit.marks import clean_address, find_addresses, split_addresses

A, B = "ada@x.test", "bob@x.test"

MARKED = [
    f"  {A}\t",
    f"\u200b{A}",
    f"\ufeff{A}",
    "ad\u200ba@x.te\u00adst",
    f"\u202a{A}\u202c",
    f"\u00a0{A}\u00a0",
    f"<{A}>",
    f"Ada Lovelace <{A}>",
    f'"Lovelace, Ada" <{A}>',
    f"Lovelace, Ada <{A}>",
    f"Ada\u00a0Lovelace\u00a0<{A}>",
    f"'{A}' <{A}>",
    f"<<{A}>>",
    f"<{A}",
    f"Ada <{A}",
    f"Ada [{A}]",
    f"Ada [mailto:{A}]",
    f"{A} <mailto:{A}>",
    f"Email address: {A}",
    f"\N{E-MAIL SYMBOL} {A}",
    f"{A}/",
    f"{A})",
    f"{A}]",
    f"Ada &lt;{A}&gt;",
    f'="{A}"',
    f"{A}>",
    f"{A} (Ada Lovelace)",
    f"(work) {A}",
    "ada(at work)@x.test",
    f"Ada Lovelace ({A})",
    f"mailto:{A}",
    f"MAILTO:{A}?subject=Hello",
    f"<mailto:{A}>",
    f'<a href="mailto:{A}">{A}</a>',
    f"[{A}](mailto:{A})",
    f'=HYPERLINK("mailto:{A}","{A}")',
    f"SMTP:{A}",
    f"E-Mail: {A}",
    f'"{A}"',
    f"'{A}'",
    f"\u201c{A}\u201d",
    f"\u201e{A}\u201c",
    f"\u00ab {A} \u00bb",
    f'"{A}',
    f"{A}.",
    f"{A},",
    f"{A};",
    f"{A}\u2026",
    f'"<mailto:{A}>";',
    f"[{A}]",
    f"{{{A}}}",
    f"\u2022 {A}",
    f"- {A}",
    f"1. {A}",
    "ada @ x.test",
    "ada\uff20x.test",
    "ada\ufe6bx.test",
    "\uff41\uff44\uff41@x\uff0etest",
]


@pytest.mark.parametrize("text", MARKED)
def test_marks_around_an_address_are_taken_off(text: str) -> None:
    assert split_addresses(text) == [A]
    assert find_addresses(text) == [A]


@pytest.mark.parametrize(
    "text",
    [
        A,
        "o'brien@x.test",
        "ada+news@x.test",
        '"ada.b"@x.test',
        '"a,b@c"@x.test',
        "{ada}@x.test",
        "#ada@x.test",
        "m\u00fcller@ex\u00e4mple.test",
        "ada@\u0646\u0627\u0645\u0647\u200c\u0627\u06cc.com",
    ],
)
def test_an_address_without_marks_stays_as_it_is(text: str) -> None:
    assert split_addresses(text) == [text]
    assert find_addresses(text) == [text]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", ""),
        ("-", "-"),
        ("@ada", "@ada"),
        ("ada lovelace@x.test", "ada lovelace@x.test"),
        (f"Ada {A}", f"Ada {A}"),
        ("ada@@x.test", "ada@@x.test"),
        ("ada@localhost", "ada@localhost"),
        ("ada@[192.0.2.1]", "ada@[192.0.2.1]"),
        ("Ada <ada@x>", "ada@x"),
    ],
)
def test_what_is_not_certain_is_left_to_the_syntax(text: str, kept: str) -> None:
    assert split_addresses(text) == [kept]
    assert find_addresses(text) == []


@pytest.mark.parametrize(
    "text",
    [
        f"{A} ::: {B}",
        f"{A}; {B}",
        f"{A};{B};",
        f"{A}, {B}",
        f"{A} | {B}",
        f"{A} / {B}",
        f"{A} {B}",
        f"{A}\n{B}",
        f"{A}\t{B}",
        f"Ada <{A}>, Bob <{B}>",
        f"Lovelace, Ada <{A}>; Byron, Bob <{B}>",
        f"Lovelace, Ada <{A}>, Byron, Bob <{B}>",
        f'"Lovelace; Ada" <{A}>; "Bob" <{B}>',
        f"mailto:{A}, mailto:{B}",
        f"{A} ({B})",
        f"{A} and {B}",
        f"{A} und {B}",
        f"{A}, {B}, {A}",
    ],
)
def test_several_addresses_are_found_each_once(text: str) -> None:
    assert split_addresses(text) == [A, B]


@given(st.text(st.sampled_from("a.@<>()\"',;: \u200b[]{}|/%\n"), max_size=60))
def test_any_text_is_cleaned_once_and_for_all(text: str) -> None:
    for found in find_addresses(text):
        assert clean_address(found) == found
        assert find_addresses(found) == [found]
