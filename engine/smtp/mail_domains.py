"""Who runs the mail of well-known mail domains, without a look into DNS. Pure.

Seen in DNS, 2026-11, and not kept up to date: it has to be right about who runs a domain's mail,
not about the number of a host.
"""

from __future__ import annotations

from collections.abc import Mapping

from engine.smtp.providers import provider_of

HOSTS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("gmail.com", "googlemail.com"),
        ("gmail-smtp-in.l.google.com", "alt1.gmail-smtp-in.l.google.com"),
    ),
    "google.com": ("smtp.google.com",),
    **{
        domain: (f"{domain.replace('.', '-')}.olc.protection.outlook.com",)
        for domain in ("outlook.com", "hotmail.com", "live.com", "msn.com", "hotmail.co.uk")
    },
    **dict.fromkeys(
        ("hotmail.de", "hotmail.es", "hotmail.fr", "hotmail.it", "live.fr", "outlook.fr"),
        ("eur.olc.protection.outlook.com",),
    ),
    **dict.fromkeys(
        ("outlook.de", "outlook.es", "outlook.it", "live.co.uk", "live.de", "live.nl", "live.it"),
        ("eur.olc.protection.outlook.com",),
    ),
    "microsoft.com": ("microsoft-com.mail.protection.outlook.com",),
    **dict.fromkeys(
        ("yahoo.com", "ymail.com", "rocketmail.com", "yahoo.ca", "yahoo.com.br"),
        ("mta5.am0.yahoodns.net", "mta6.am0.yahoodns.net", "mta7.am0.yahoodns.net"),
    ),
    **dict.fromkeys(
        ("yahoo.co.uk", "yahoo.de", "yahoo.es", "yahoo.fr", "yahoo.it"),
        ("mx-eu.mail.am0.yahoodns.net",),
    ),
    **dict.fromkeys(("aol.com", "aim.com"), ("mx-aol.mail.gm0.yahoodns.net",)),
    **dict.fromkeys(
        ("icloud.com", "me.com", "mac.com"), ("mx01.mail.icloud.com", "mx02.mail.icloud.com")
    ),
    **dict.fromkeys(
        ("proton.me", "protonmail.com", "pm.me"), ("mail.protonmail.ch", "mailsec.protonmail.ch")
    ),
    **dict.fromkeys(("zoho.com", "zohomail.com"), ("smtpin.zoho.com", "smtpin2.zoho.com")),
    **dict.fromkeys(("gmx.de", "gmx.net", "gmx.at", "gmx.ch"), ("mx00.emig.gmx.net",)),
    **dict.fromkeys(("gmx.com", "mail.com"), ("mx00.mail.com", "mx01.mail.com")),
    "web.de": ("mx-ha02.web.de", "mx-ha03.web.de"),
    **dict.fromkeys(("yandex.ru", "yandex.com", "ya.ru"), ("mx.yandex.ru",)),
    **dict.fromkeys(("mail.ru", "bk.ru", "inbox.ru", "list.ru"), ("mxs.mail.ru",)),
    **dict.fromkeys(
        ("fastmail.com", "fastmail.fm"),
        ("in1-smtp.messagingengine.com", "in2-smtp.messagingengine.com"),
    ),
    "qq.com": ("mx3.qq.com", "mx2.qq.com", "mx1.qq.com"),
    "163.com": ("163mx01.mxmail.netease.com", "163mx02.mxmail.netease.com"),
    "126.com": ("126mx01.mxmail.netease.com", "126mx02.mxmail.netease.com"),
    **dict.fromkeys(("orange.fr", "wanadoo.fr"), ("smtp-in.orange.fr",)),
    "free.fr": ("mx1.free.fr", "mx2.free.fr"),
    "sfr.fr": ("smtp-in.sfr.fr",),
    "laposte.net": ("smtpz4.laposte.net",),
    "t-online.de": ("mx00.t-online.de", "mx01.t-online.de"),
    "libero.it": ("smtp-in.libero.it",),
    "seznam.cz": ("mx1.seznam.cz", "mx2.seznam.cz"),
    **dict.fromkeys(("wp.pl", "o2.pl"), ("mx.wp.pl",)),
    "comcast.net": ("mx1a1.comcast.net", "mx2a1.comcast.net"),
    "att.net": ("al-ip4-mx-vip1.prodigy.net",),
    "naver.com": ("mx1.naver.com", "mx2.naver.com"),
    **dict.fromkeys(("daum.net", "hanmail.net"), ("mx1.hanmail.net",)),
    **dict.fromkeys(("tutanota.com", "tuta.com"), ("mail.tutanota.de",)),
    "posteo.de": ("mx01.posteo.de",),
    "mailbox.org": ("mxext1.mailbox.org", "mxext2.mailbox.org"),
    "mailinator.com": ("mail.mailinator.com", "mail2.mailinator.com"),
}
"""By domain, the most preferred first."""


def provider_of_domain(domain: str) -> str | None:
    """The operator of the domain's mail hosts; None if it is not known."""
    return provider_of(HOSTS[domain][0]) if domain in HOSTS else None
