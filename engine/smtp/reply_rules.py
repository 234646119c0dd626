"""What SMTP refusals mean: one table, whose first matching row decides. Pure.

The order of the rows matters. Refusals of *us* stand above those of the mailbox, enhanced codes
above words where codes can be trusted, and temporary refusals above permanent ones. Every row
names its source. `engine.smtp.reply` applies the rows, `engine.smtp.reply_words` has the words.

Sources: RFC 3207, 3463, 5248, 5321, 6531, 7372, 7504, 7505, 8689; Microsoft "Non-delivery
reports in Exchange Online"; Google "SMTP error reference"; Yahoo "SMTP error codes"; the
documented replies of Postfix, Exim, Sendmail, qmail, OpenSMTPD and Dovecot.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.model import Meaning, Stage
from engine.smtp import reply_words as words
from engine.smtp.terms import ANY_STAGE, BEFORE_RCPT, RCPT_ONLY


@dataclass(frozen=True, slots=True)
class ReplyRule:
    """A row: it matches if every part that is given matches."""

    name: str
    meaning: Meaning
    source: str
    stages: frozenset[Stage] = RCPT_ONLY
    code: str = "[45]..|[45]"
    """Matches the whole basic code."""
    enhanced: str = ""
    """Matches the whole enhanced code; a reply without one does not match."""
    words: str = ""
    """Matches anywhere in the folded text."""
    unless: str = ""
    """Must not match anywhere in the folded text."""
    mailbox_inactive: bool = False
    """The mailbox is also out of use."""


_MS = "Microsoft: Non-delivery reports in Exchange Online"
_GOOGLE = "Google: SMTP error reference"

REPLY_RULES: tuple[ReplyRule, ...] = (
    # -- acceptance ----------------------------------------------------------------------
    ReplyRule("accepted", Meaning.ACCEPTED, "RFC 5321 section 3.4", code="25[01]"),
    ReplyRule("cannot-verify", Meaning.CANNOT_VERIFY, "RFC 5321 section 3.5.3", code="252"),
    ReplyRule("fine", Meaning.ACCEPTED, "RFC 5321 section 4.2.1", stages=BEFORE_RCPT, code="2.."),
    ReplyRule(
        "odd-success", Meaning.PROTOCOL_ERROR, "RFC 5321 section 4.3.2", ANY_STAGE, code="[23].."
    ),
    # -- codes that outrank words --------------------------------------------------------
    ReplyRule(
        "m365-directory",
        Meaning.MAILBOX_NOT_FOUND,
        f"{_MS}, 5.4.1 (directory-based edge blocking)",
        code="5..",
        enhanced=r"5\.4\.1",
        words=r"access denied|as\(201806281\)",
        unless=r"\brelay",
    ),
    ReplyRule(
        "null-mx-recipient",
        Meaning.DOMAIN_NOT_SERVED,
        "RFC 7505 section 4.3",
        code="5..",
        enhanced=r"5\.1\.10",
        words=r"null ?mx|\bmx\b",
    ),
    ReplyRule(
        "recipient-not-found",
        Meaning.MAILBOX_NOT_FOUND,
        f"{_MS}, 5.1.10",
        code="5..",
        enhanced=r"5\.1\.10",
    ),
    ReplyRule(
        "sender-not-allowed-here",
        Meaning.POLICY,
        f"{_MS}, 5.7.12, 5.7.124, 5.7.133-136, 5.7.193",
        enhanced=r"5\.7\.(12|124|13[3-6]|193)",
    ),
    ReplyRule(
        "no-ipv6",
        Meaning.IP_BLOCKED,
        f"{_MS}, 5.7.510",
        ANY_STAGE,
        enhanced=r"5\.7\.510",
    ),
    ReplyRule(
        "service-unavailable",
        Meaning.THROTTLED,
        "RFC 3463 section 3.4 and 3.5: system full, not accepting, congestion",
        ANY_STAGE,
        code="4..",
        enhanced=r"4\.(3\.[12]|4\.5|5\.3)",
    ),
    ReplyRule(
        "tls-required",
        Meaning.TLS_REQUIRED,
        "RFC 3207 section 4; RFC 8689 section 5",
        ANY_STAGE,
        enhanced=r"[45]\.(7\.10|7\.30|4\.317)",
    ),
    ReplyRule(
        "tls-required-words", Meaning.TLS_REQUIRED, "RFC 3207 section 4", ANY_STAGE, words=words.TLS
    ),
    # -- us: reverse DNS, sender authentication, block lists -----------------------------
    ReplyRule(
        "rdns", Meaning.RDNS_REQUIRED, "RFC 7372 section 3.3", ANY_STAGE, enhanced=r"[45]\.7\.25"
    ),
    ReplyRule(
        "relay-denied-before-dns",
        Meaning.DOMAIN_NOT_SERVED,
        "Sendmail check_rcpt: the relay check reports a failed name look-up as well",
        words=r"relaying denied",
        unless=words.BLOCKED,
    ),
    ReplyRule(
        "rdns-words",
        Meaning.RDNS_REQUIRED,
        "Postfix: reject_unknown_client_hostname; RFC 7372 section 3.3",
        ANY_STAGE,
        words=words.RDNS,
    ),
    ReplyRule(
        "sender-authentication",
        Meaning.SENDER_AUTH_FAILED,
        "RFC 7372 section 3; RFC 7505 section 4.2; RFC 8617 section 10.3",
        ANY_STAGE,
        enhanced=r"[45]\.7\.(2[0-4679]|509)",
    ),
    ReplyRule(
        "mail-flood",
        Meaning.THROTTLED,
        f"{_GOOGLE}, 4.7.28",
        ANY_STAGE,
        code="4..",
        enhanced=r"4\.7\.28",
    ),
    ReplyRule(
        "helo-code", Meaning.HELO_REJECTED, f"{_MS}, 5.7.506", ANY_STAGE, enhanced=r"5\.7\.506"
    ),
    ReplyRule(
        "banned-sender",
        Meaning.SENDER_REJECTED,
        f"{_MS}, 5.7.501-503 and 5.7.511",
        ANY_STAGE,
        enhanced=r"5\.7\.(50[1-3]|511|512|750)",
        unless=r"\bip\b|client host|\[\d",
    ),
    ReplyRule(
        "provider-block-code",
        Meaning.IP_BLOCKED,
        f"{_MS}, 5.7.501-749, 4.7.500-699, 4.7.850-899",
        ANY_STAGE,
        enhanced=r"5\.7\.(50[1-3]|508|511|513|60[6-9]|6[1-4]\d|7[0-4]\d)|4\.7\.([56]\d\d|8[5-9]\d)",
    ),
    ReplyRule(
        "control-verbatim",
        Meaning.REJECTED_UNRECOGNISED,
        "cPanel: one text for unknown accounts, block lists and DNS failures alike",
        code="5..",
        words=r"(?:account or domain may not exist|may be blacklisted)",
    ),
    ReplyRule(
        "mailbox-blocked",
        Meaning.MAILBOX_DISABLED,
        "RFC 3463 section 3.3, X.2.1",
        code="5..",
        enhanced=r"5\.2\.1",
        words=words.DISABLED,
    ),
    ReplyRule(
        "helo-words",
        Meaning.HELO_REJECTED,
        "Postfix: smtpd_helo_restrictions; RFC 5321 section 4.1.4",
        ANY_STAGE,
        words=words.HELO,
    ),
    ReplyRule(
        "sender-authentication-words",
        Meaning.SENDER_AUTH_FAILED,
        "RFC 7208 section 8.4; RFC 6376; RFC 7489 section 10.3",
        ANY_STAGE,
        words=words.SENDER_AUTH,
    ),
    ReplyRule(
        "greylisted-by-list",
        Meaning.GREYLISTED,
        "RFC 6647 section 2; a list used for greylisting may be named as a block list",
        ANY_STAGE,
        code="4..",
        words=r"\bgr[ae]y-?listing\b",
    ),
    ReplyRule(
        "mailbox-blocked-words",
        Meaning.MAILBOX_DISABLED,
        "Free.fr and Yandex: a mailbox blocked after a time without use",
        code="5..",
        words=words.MAILBOX_BLOCKED,
        unless=r"\bip\b|\bhost\b|sender|\brbl|dnsbl",
    ),
    ReplyRule(
        "blocked",
        Meaning.IP_BLOCKED,
        "Postfix: reject_rbl_client; RFC 5782; Yahoo, Microsoft, Google, Comcast postmaster pages",
        ANY_STAGE,
        words=words.BLOCKED,
    ),
    ReplyRule(
        "service-refused",
        Meaning.IP_BLOCKED,
        "Orange and La Poste postmaster pages: codes 103, 105, 109, 510",
        ANY_STAGE,
        code="5..",
        words=r"\bservice refus",
    ),
    ReplyRule(
        "sender-code",
        Meaning.SENDER_REJECTED,
        "RFC 3463 section 3.2, X.1.7 and X.1.8",
        ANY_STAGE,
        enhanced=r"[45]\.1\.[78]",
    ),
    ReplyRule(
        "sender-words",
        Meaning.SENDER_REJECTED,
        "Postfix: smtpd_sender_restrictions; Exim: verify = sender/callout; qmail: badmailfrom",
        ANY_STAGE,
        words=words.SENDER,
    ),
    # -- the domain is not served here ---------------------------------------------------
    ReplyRule(
        "tenant-attribution",
        Meaning.DOMAIN_NOT_SERVED,
        f"{_MS}, 5.7.64",
        enhanced=r"5\.7\.64",
    ),
    ReplyRule(
        "relay",
        Meaning.DOMAIN_NOT_SERVED,
        "Postfix: reject_unauth_destination; qmail: rcpthosts; Exim: relay not permitted",
        code="5..|5",
        words=words.RELAY,
        unless=r"\bauthenticat\w+ (?:required|first)(?!.*relay)",
    ),
    ReplyRule(
        "relay-for-now",
        Meaning.DOMAIN_NOT_SERVED,
        "Postfix: 454; a 450 for an unknown domain may be a failure of its resolver",
        code="4..",
        words=r"relay",
        unless=r"relay (?:recipient|host)|looked? ?up",
    ),
    ReplyRule(
        "auth-code", Meaning.AUTH_REQUIRED, f"{_MS}, 5.7.57", ANY_STAGE, enhanced=r"5\.7\.57"
    ),
    ReplyRule(
        "auth-words", Meaning.AUTH_REQUIRED, "RFC 4954 section 6", ANY_STAGE, words=words.AUTH
    ),
    ReplyRule("auth-530", Meaning.AUTH_REQUIRED, "RFC 4954 section 6", ANY_STAGE, code="530|538"),
    # -- the mailbox exists --------------------------------------------------------------
    ReplyRule(
        "mailbox-rate",
        Meaning.MAILBOX_RATE_LIMITED,
        f"{_GOOGLE}, 4.2.1 and 5.2.1; {_MS}, 5.2.121 and 5.2.122",
        words=words.RATE,
    ),
    ReplyRule(
        "mailbox-rate-code",
        Meaning.MAILBOX_RATE_LIMITED,
        f"{_MS}, 5.2.121 and 5.2.122",
        enhanced=r"5\.2\.12[12]",
    ),
    ReplyRule(
        "full-and-inactive",
        Meaning.MAILBOX_FULL,
        f"{_GOOGLE}, 5.2.2",
        words=r"quota and inactive",
        mailbox_inactive=True,
    ),
    ReplyRule(
        "full-code",
        Meaning.MAILBOX_FULL,
        "RFC 3463 section 3.3, X.2.2",
        enhanced=r"[45]\.2\.2",
        unless=words.NOT_A_FULL_MAILBOX,
    ),
    ReplyRule(
        "full-words",
        Meaning.MAILBOX_FULL,
        "RFC 5321 section 4.2.3 (452, 552); Dovecot quota_exceeded_message",
        words=words.FULL,
        unless=words.NOT_A_FULL_MAILBOX,
    ),
    ReplyRule(
        "full-552",
        Meaning.MAILBOX_FULL,
        "RFC 5321 section 4.2.3: 552, exceeded storage allocation",
        code="552",
        words=r"exceed|\bfull\b|\bspace\b|\bstorage\b|\blimit|too much",
        unless=rf"{words.NOT_A_FULL_MAILBOX}|{words.POLICY}|{words.NO_SUCH}",
    ),
    # -- temporary refusals --------------------------------------------------------------
    ReplyRule(
        "utf8-code",
        Meaning.SMTPUTF8_UNSUPPORTED,
        "RFC 6531 section 3.5",
        enhanced=r"5\.6\.(7|9|10)",
    ),
    ReplyRule(
        "content-code",
        Meaning.POLICY,
        "RFC 3463 section 3.3, 3.4 and 3.7: X.2.3, X.3.4, X.6",
        enhanced=r"5\.(2\.3|3\.4|6\..*)",
    ),
    ReplyRule(
        "too-much",
        Meaning.THROTTLED,
        "RFC 5321 section 4.5.3.1.10; RFC 3463 X.5.3",
        ANY_STAGE,
        words=words.THROTTLE,
        unless=r"message size|size limit|too (?:large|big)",
    ),
    ReplyRule(
        "system-full",
        Meaning.TEMPORARY,
        "RFC 3463 section 3.4, X.3.1: the system's storage, not the mailbox's",
        words=r"insufficient system (?:storage|resources)|mail system (?:is )?full",
    ),
    ReplyRule(
        "too-many-recipients", Meaning.THROTTLED, "RFC 3463 section 3.6", enhanced=r"[45]\.5\.3"
    ),
    ReplyRule(
        "greylisted",
        Meaning.GREYLISTED,
        "RFC 6647 section 2; Postfix: check_policy_service, address verification",
        ANY_STAGE,
        code="4..",
        words=words.GREYLIST,
    ),
    ReplyRule(
        "system-trouble",
        Meaning.TEMPORARY,
        "RFC 3463 section 3.4 and 3.5: X.3.0, X.3.5, X.4.1-3",
        ANY_STAGE,
        code="4..",
        enhanced=r"4\.(3\.[0345]|4\.[0-4])",
    ),
    ReplyRule("closing", Meaning.THROTTLED, "RFC 5321 section 3.8", code="421"),
    ReplyRule(
        "throttled-early",
        Meaning.THROTTLED,
        "RFC 3463 section 3.8; Google and Microsoft use 421 4.7.x for rates",
        BEFORE_RCPT,
        code="4..",
        enhanced=r"4\.7\..*",
    ),
    ReplyRule(
        "unproven-recipient",
        Meaning.UNVERIFIED,
        "Postfix: soft_bounce and reject_unverified_recipient",
        code="4..",
        enhanced=r"4\.1\.[0136]",
    ),
    ReplyRule(
        "temporary-unknown-user",
        Meaning.UNVERIFIED,
        "Postfix: unknown_local_recipient_reject_code = 450",
        code="4..",
        words=words.NOT_FOUND,
        unless=r"temporar|lookup fail|try (?:again )?later",
    ),
    ReplyRule(
        "temporary-disabled",
        Meaning.UNVERIFIED,
        "Postfix: soft_bounce and an access table",
        code="4..",
        words=words.DISABLED,
        unless=r"temporar|lookup fail|try (?:again )?later",
    ),
    ReplyRule(
        "greylisted-by-policy",
        Meaning.GREYLISTED,
        "RFC 6647 section 2: 4.7.1 that names no block list",
        code="4..",
        enhanced=r"4\.7\.1",
    ),
    ReplyRule("temporary", Meaning.TEMPORARY, "RFC 5321 section 4.2.1", ANY_STAGE, code="4.."),
    # -- before RCPT every refusal is about us -------------------------------------------
    ReplyRule(
        "out-of-order", Meaning.PROTOCOL_ERROR, "RFC 5321 section 4.3.2", ANY_STAGE, code="503"
    ),
    ReplyRule(
        "no-mail-here",
        Meaning.IP_BLOCKED,
        "RFC 5321 section 3.1 (554), RFC 7504 section 3 (521)",
        frozenset({Stage.BANNER, Stage.CONNECT}),
        code="5..",
    ),
    ReplyRule(
        "hello-refused",
        Meaning.HELO_REJECTED,
        "RFC 5321 section 4.1.4",
        frozenset({Stage.EHLO}),
        code="5..",
    ),
    ReplyRule(
        "tls-refused",
        Meaning.TLS_REQUIRED,
        "RFC 3207 section 4",
        frozenset({Stage.STARTTLS}),
        code="5..",
    ),
    ReplyRule(
        "mail-parameter",
        Meaning.PROTOCOL_ERROR,
        "RFC 5321 section 3.3 (555); RFC 3463 section 3.6",
        frozenset({Stage.MAIL}),
        code="50[0245]|555",
    ),
    ReplyRule(
        "sender-refused",
        Meaning.SENDER_REJECTED,
        "RFC 5321 section 3.3",
        frozenset({Stage.MAIL}),
        code="5..",
    ),
    # -- permanent refusals --------------------------------------------------------------
    ReplyRule(
        "utf8-words", Meaning.SMTPUTF8_UNSUPPORTED, "RFC 6531 section 3.5", words=words.SMTPUTF8
    ),
    ReplyRule(
        "moved",
        Meaning.MAILBOX_MOVED,
        "RFC 3463 section 3.2, X.1.6; RFC 5321 section 3.4 (551)",
        enhanced=r"5\.1\.6",
    ),
    ReplyRule(
        "disabled-code",
        Meaning.MAILBOX_DISABLED,
        "RFC 3463 section 3.3, X.2.1; RFC 5248 section 2.4, X.7.13",
        enhanced=r"5\.(2\.1|7\.13)",
        unless=rf"temporarily unavailable|{words.NO_SUCH}",
    ),
    ReplyRule("disabled-525", Meaning.MAILBOX_DISABLED, "RFC 5248 section 2.4", code="525"),
    ReplyRule(
        "policy-despite-code",
        Meaning.POLICY,
        "Cable operators: 552 5.1.1 Mailbox delivery failure policy error; RFC 3463 section 3.8",
        enhanced=r"5\.1\.[0136]",
        words=words.POLICY_DESPITE_CODE,
        unless=rf"{words.DISABLED}|{words.NOT_FOUND}",
    ),
    ReplyRule(
        "not-found-code",
        Meaning.MAILBOX_NOT_FOUND,
        "RFC 3463 section 3.2, X.1.1 and X.1.3",
        enhanced=r"5\.1\.[13]",
        unless=words.DISABLED,
    ),
    ReplyRule(
        "disabled-words",
        Meaning.MAILBOX_DISABLED,
        "RFC 3463 section 3.3; Yahoo 554.30; mail.ru and LaPoste wordings",
        words=words.DISABLED,
    ),
    ReplyRule(
        "not-found-words",
        Meaning.MAILBOX_NOT_FOUND,
        "RFC 5321 section 4.2.3 (550); Exim, qmail, Sendmail, Exchange and providers' wordings",
        words=words.NOT_FOUND,
    ),
    ReplyRule(
        "moved-551",
        Meaning.MAILBOX_MOVED,
        "RFC 5321 section 3.4: the text names the new address; else 551 is as vague as 550",
        code="551",
        words=words.MOVED,
    ),
    ReplyRule(
        "not-found-other-address",
        Meaning.MAILBOX_NOT_FOUND,
        "RFC 3463 section 3.2, X.1.0 (Cisco: address rejected); RFC 6710 X.1.4; RFC 7293 X.7.17-18",
        enhanced=r"5\.(1\.[014]|7\.1[78]|2\.4)",
    ),
    ReplyRule(
        "bad-domain",
        Meaning.DOMAIN_NOT_SERVED,
        "RFC 3463 section 3.2 and 3.5, X.1.2 and X.4.4",
        enhanced=r"5\.(1\.2|4\.4|4\.31[0-2])",
    ),
    ReplyRule(
        "loop",
        Meaning.TEMPORARY,
        f"RFC 3463 section 3.5, X.4.6; {_MS}, 5.4.14",
        enhanced=r"5\.4\.(6|14|7|300|316)",
    ),
    ReplyRule(
        "loop-words",
        Meaning.TEMPORARY,
        "RFC 5321 section 6.3",
        words=r"\bloop(?:s|ing|ed)?\b|too many hops|hop count",
    ),
    ReplyRule(
        "m365-consumer",
        Meaning.MAILBOX_NOT_FOUND,
        "Outlook.com postmaster: 550 5.5.0 mailbox unavailable",
        code="550",
        enhanced=r"5\.5\.0",
        words=words.UNAVAILABLE,
    ),
    ReplyRule(
        "policy-words",
        Meaning.POLICY,
        "RFC 3463 section 3.8",
        words=words.POLICY,
    ),
    ReplyRule(
        "policy-code",
        Meaning.POLICY,
        "RFC 3463 section 3.8",
        enhanced=r"5\.7\..*",
        unless=(
            r"recipient(?: address)? (?:rejected|denied|refused)|mailbox (?:un|not )available"
            r"|(?:user|recipient|mailbox|account) (?:cannot|can ?not|can't) (?:be )?receive"
        ),
    ),
    ReplyRule(
        "mailbox-unavailable",
        Meaning.MAILBOX_NOT_FOUND,
        "RFC 5321 section 4.2.3 (550, 553); GMX, QQ and Outlook wordings",
        code="55[0-4]",
        words=words.UNAVAILABLE,
        unless=r"temporar|\btry (?:it )?again",
    ),
    ReplyRule(
        "not-found-at-large",
        Meaning.MAILBOX_NOT_FOUND,
        "RFC 5321 section 4.2.3 (550, 551, 553): no row above takes it for a refusal of us",
        code="5[145].",
        words=words.NO_MAILBOX,
        unless=words.NOT_THE_MAILBOX,
    ),
    ReplyRule("odd-command", Meaning.PROTOCOL_ERROR, "RFC 5321 section 4.3.2", code="50[0-4]|555"),
    ReplyRule(
        "bare", Meaning.REJECTED_UNRECOGNISED, "RFC 5321 section 4.2.1", ANY_STAGE, code="5.."
    ),
)

BLOCK_LIST_PATTERNS: tuple[tuple[str, str], ...] = (
    ("spamhaus", r"spamhaus|\bzen\.|\b[sxp]bl\b"),
    ("spamcop", r"spam.?cop"),
    ("barracuda", r"barracuda"),
    ("sorbs", r"\bsorbs\b"),
    ("abusix", r"abusix"),
    ("cloudmark", r"cloudmark|csi\.cloudmark"),
    ("proofpoint", r"proofpoint"),
    ("invaluement", r"invaluement|\bivm"),
    ("senderscore", r"sender ?score"),
    ("talos", r"sender ?base|talosintel|ironport"),
    ("uceprotect", r"uceprotect"),
    ("spamrats", r"spamrats"),
    ("mailspike", r"mailspike"),
    ("trendmicro", r"trend ?micro|mail-abuse"),
    ("mcafee", r"trustedsource|mcafee"),
    ("cbl", r"abuseat|\bcbl\b"),
    ("psbl", r"psbl"),
    ("nixspam", r"nixspam|manitu"),
    ("hostkarma", r"hostkarma|junkemailfilter"),
    ("backscatterer", r"backscatterer"),
    ("spfbl", r"spfbl"),
    ("sophos", r"sophos"),
    ("symantec", r"symantec|messagelabs"),
    ("surbl", r"surbl"),
    ("uribl", r"uribl"),
    ("yahoo", r"\[(?:tss|bl|ph)\d+\]"),
    ("microsoft", r"\ba?s(?:3140|3150|77719)\b|as16012607"),
    ("aol", r"\((?:rtr|rly|hvu|con|dyn):"),
    ("att", r"attrbl|abuse-att\.net"),
)
"""The name of a block list, and its pattern in folded text."""
