"""Which operator runs a mail host, by the suffix of the host's name. Pure.

Each row of the table has the page or the observation that it comes from. Connections are counted
per operator, since a thousand domains may share one provider's mail hosts.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.address.domains import registrable_domain


@dataclass(frozen=True, slots=True)
class Provider:
    """A known operator of mail hosts, and the suffixes of their names."""

    name: str
    suffixes: tuple[str, ...]
    source: str


PROVIDERS: tuple[Provider, ...] = (
    Provider(
        "google",
        ("google.com", "googlemail.com", "smtp.goog", "psmtp.com"),
        "Google Workspace: set up MX records; MX of gmail.com",
    ),
    Provider(
        "microsoft",
        ("outlook.com", "hotmail.com", "mx.microsoft", "eo.outlook.com", "outlook.cn"),
        "Microsoft 365: external DNS records; MX of outlook.com",
    ),
    Provider("yahoo", ("yahoodns.net", "yahoo.com", "yahoo.co.jp"), "MX of yahoo.com, aol.com"),
    Provider(
        "apple",
        ("icloud.com", "me.com", "apple.com"),
        "Apple: iCloud Mail custom domains; MX of icloud.com",
    ),
    Provider(
        "zoho",
        (
            "zoho.com",
            "zoho.eu",
            "zoho.in",
            "zoho.com.au",
            "zoho.jp",
            "zohomail.com",
            "zohocloud.ca",
        ),
        "Zoho Mail: configure email delivery",
    ),
    Provider("proton", ("protonmail.ch", "proton.ch"), "Proton: custom domain setup"),
    Provider(
        "mimecast",
        ("mimecast.com", "mimecast.co.za", "mimecast-offshore.com"),
        "Mimecast: inbound MX by region",
    ),
    Provider(
        "proofpoint",
        ("pphosted.com", "ppe-hosted.com", "gpphosted.com"),
        "Proofpoint Protection and Essentials: MX records",
    ),
    Provider(
        "barracuda",
        ("barracudanetworks.com", "barracuda.com", "cudasvc.com", "cudamail.com"),
        "Barracuda Email Gateway Defense: set up MX records",
    ),
    Provider(
        "cisco", ("iphmx.com", "cisco.com"), "Cisco Secure Email Cloud Gateway: MX of customers"
    ),
    Provider("symantec", ("messagelabs.com", "messagelabs.net"), "Symantec Email Security.cloud"),
    Provider("trendmicro", ("trendmicro.com", "trendmicro.eu"), "Trend Micro Email Security: MX"),
    Provider("sophos", ("sophos.com", "reflexion.net"), "Sophos Central Email: inbound hosts"),
    Provider("cloudflare", ("mx.cloudflare.net",), "Cloudflare Email Routing: required DNS"),
    Provider("fastmail", ("messagingengine.com",), "Fastmail: domain setup, MX records"),
    Provider("yandex", ("yandex.net", "yandex.ru"), "Yandex 360: MX record"),
    Provider("mailru", ("mail.ru",), "VK WorkSpace: MX record; MX of mail.ru"),
    Provider(
        "gmx",
        (
            "gmx.net",
            "gmx.com",
            "web.de",
            "emig.gmx.net",
            "mail.com",
            "kundenserver.de",
            "1and1.com",
            "ionos.com",
            "ionos.de",
            "ionos.co.uk",
            "ionos.fr",
            "ionos.es",
            "ui-dns.com",
        ),
        "GMX, web.de, mail.com and IONOS: MX records (one operator)",
    ),
    Provider("ovh", ("ovh.net", "ovh.ca", "mail.ovh.net"), "OVHcloud: MX records"),
    Provider("gandi", ("gandi.net",), "Gandi: default mail records"),
    Provider("infomaniak", ("infomaniak.ch", "infomaniak.com"), "Infomaniak: MX records"),
    Provider("hostinger", ("hostinger.com", "hostinger.in"), "Hostinger: MX records"),
    Provider("titan", ("titan.email",), "Titan: MX records"),
    Provider("namecheap", ("privateemail.com", "registrar-servers.com"), "Namecheap: MX records"),
    Provider("godaddy", ("secureserver.net",), "GoDaddy: Workspace Email MX records"),
    Provider("rackspace", ("emailsrvr.com",), "Rackspace Email: DNS records"),
    Provider("amazon", ("amazonaws.com", "awsapps.com"), "Amazon SES and WorkMail: MX endpoints"),
    Provider("sendgrid", ("sendgrid.net",), "Twilio SendGrid: Inbound Parse MX"),
    Provider("mailgun", ("mailgun.org",), "Mailgun: receiving MX records"),
    Provider("improvmx", ("improvmx.com",), "ImprovMX: MX records"),
    Provider("forwardemail", ("forwardemail.net",), "Forward Email: MX records"),
    Provider("tuta", ("tutanota.de", "tuta.com"), "Tuta: custom domain MX record"),
    Provider("mailbox.org", ("mailbox.org",), "mailbox.org: MX records"),
    Provider("posteo", ("posteo.de",), "MX of posteo.de"),
    Provider("migadu", ("migadu.com",), "Migadu: MX records"),
    Provider("strato", ("rzone.de",), "STRATO: MX of customers"),
    Provider("hornetsecurity", ("hornetsecurity.com", "antispameurope.com"), "Hornetsecurity: MX"),
    Provider("tencent", ("qq.com",), "Tencent Exmail: MX records; MX of qq.com"),
    Provider("netease", ("netease.com", "163.com", "126.com", "qiye163.com"), "NetEase: MX"),
    Provider("aliyun", ("aliyun.com", "mxhichina.com"), "Alibaba Mail: MX records"),
    Provider("orange", ("orange.fr", "wanadoo.fr"), "MX of orange.fr"),
    Provider("free", ("free.fr", "proxad.net"), "MX of free.fr"),
    Provider("sfr", ("sfr.fr", "sfr.net"), "MX of sfr.fr"),
    Provider("laposte", ("laposte.net",), "MX of laposte.net"),
    Provider("t-online", ("t-online.de",), "MX of t-online.de"),
    Provider("libero", ("libero.it", "iol.it"), "MX of libero.it"),
    Provider("aruba", ("aruba.it",), "Aruba: MX of customers"),
    Provider("seznam", ("seznam.cz",), "MX of seznam.cz"),
    Provider("wp", ("wp.pl", "o2.pl"), "MX of wp.pl"),
    Provider("comcast", ("comcast.net",), "MX of comcast.net"),
    Provider("att", ("prodigy.net", "att.net"), "MX of att.net"),
    Provider("cox", ("cox.net",), "MX of cox.net"),
    Provider("charter", ("charter.net", "rr.com", "charter.com"), "MX of charter.net"),
    Provider("naver", ("naver.com",), "MX of naver.com"),
    Provider("daum", ("daum.net", "hanmail.net"), "MX of daum.net"),
    Provider("mailinator", ("mailinator.com",), "MX of mailinator.com"),
)

_BY_SUFFIX = {suffix: provider.name for provider in PROVIDERS for suffix in provider.suffixes}


def provider_of(host: str) -> str | None:
    """The operator of mail host `host` (lower case, no final dot); None if it is unknown."""
    name = host
    while name:
        found = _BY_SUFFIX.get(name)
        if found is not None:
            return found
        name = name.partition(".")[2]
    return None


# The two below differ for hosts of unknown operators. A connection limit is a host's own, so pacing
# counts each host by itself; a refusal of our address comes from an organisation's policy, so
# reputation counts all hosts under one registrable domain together.


def pacing_operator(host: str) -> str:
    """The operator whose connections are counted together: a known one, else the host itself."""
    return provider_of(host) or host


def reputation_operator(host: str) -> str:
    """The operator whose refusals are counted together: a known one, else a registrable domain."""
    return provider_of(host) or registrable_domain(host) or host
