"""The word families of SMTP refusals, in phrases.

Phrases are matched against folded text (`engine.reply.fold`): lower case, without accents,
addresses or repeated codes, single blanks. Each family is our wording of what mail servers and
providers are known to say; `engine.reply_rules` decides what it means.

Notation, a phrase a line (a deeper line continues the one above):

    a b     these words, one after the other        a/b     either word
    [a/b]   a word that may be missing              [a/b]*  any number of such words
    word*   a word that begins so                   a_b     a blank within one alternative
    a~b     ab, a b or a-b                          ..      up to 60 characters of anything
    a | b   two phrases on one line                 {name}  a pattern given by name
"""

from __future__ import annotations

import re

_GAP = r".{0,60}?"


def phrases(text: str, **named: str) -> str:
    """One regular expression that fits where any phrase of `text` does.

    `named` are regular expressions for `{name}`, such as those of other calls.
    """
    lines = (phrase.strip() for line in _joined(text) for phrase in line.split(" | "))
    return "(?:" + "|".join(_phrase(line, named) for line in lines if line) + ")"


def _joined(text: str) -> list[str]:
    """The lines of `text`, those that continue one put to its end."""
    lines: list[str] = []
    margin: int | None = None
    for line in text.splitlines():
        words = line.strip()
        if not words or words.startswith("#"):
            continue
        indent = len(line) - len(line.lstrip())
        margin = indent if margin is None else margin
        if indent > margin and lines:
            lines[-1] += words if lines[-1].endswith("/") else " " + words
        else:
            lines.append(words)
    return lines


def _phrase(line: str, named: dict[str, str]) -> str:
    pattern = glue = ""
    for item in line.split():
        if item == "..":
            glue = _GAP
        elif item.startswith("["):
            # It brings the blank that follows it, so that its absence leaves none behind.
            many = "*" if item.endswith("*") else "?"
            pattern += f"{glue}(?:{_either(item.strip('[]*'), named)} ){many}"
            glue = ""
        else:
            pattern += glue + _either(item, named)
            glue = " "
    return pattern


def _either(item: str, named: dict[str, str]) -> str:
    return "(?:" + "|".join(_word(word, named) for word in item.split("/")) + ")"


def _word(word: str, named: dict[str, str]) -> str:
    if word.startswith("{"):
        return named[word.strip("{}")]
    pattern = re.escape(word).replace(r"\*", r"\w*").replace(r"\~", "[ -]?").replace("~", "[ -]?")
    pattern = pattern.replace("_", " ").replace("'", "'?")
    # Scripts without blanks between words have no word boundaries either.
    before = r"\b" if word[0].isascii() and word[0].isalnum() else ""
    after = r"\b" if word[-1].isascii() and word[-1].isalnum() else ""
    return before + pattern + after


# --- our own standing -------------------------------------------------------------------

_IP = r"[\[(]{0,2}\b\d{1,3}(?:\.\d{1,3}){3}\b"
_US = phrases(
    """
    your/sending/sender/sender's/source/remote/connecting/client/the/this/originating
        ip/ips/ip-addr/server/servers/mail_server/mailserver/host/hosts/mta/network/system/subnet/
        isp/provider/connection/country/sending_ip
    """
)
_HELD = (
    phrases(
        """
    black~list*/block/blocked/blocks/blocking/banned/reject*/denied/deny/refused/suspended
    bad/poor/low reputation | good reputation | rate limited | exceeded | spam* | abuse/abusive
    not allowed/accepted/permitted/welcome/authorized/authorised
    """
    )
    + r"(?! to relay)"
)
BLOCKED = phrases(
    """
    {us} .. {held}
    {ip} .. {held}
    ip/ips/ip-addr .. {held}
    client_host/remote_host/mta .. rejected/blocked/denied/refused
    black~list* | block~list* | deny~list* | dnsbl* | rbl/rbls | surbl* | uribl* | ivm*
    sbl/xbl/pbl/dbl/cbl/attrbl
    spamhaus* | spam~cop* | sorbs | abuseat | abusix* | invaluement | cloudmark | uceprotect*
    spamrats | mailspike | nixspam | hostkarma | psbl | backscatterer | spfbl | junkemailfilter
    talosintel* | trustedsource* | mail-abuse | barracudacentral | ipcheck
    sender~score/sender~base
    proofpoint/trend~micro/sophos/symantec/barracuda .. reputation/blocked/listed
    blocked using/by/at/in/on/due/because/from/for_abuse/for_spam | blocked [-] see
    {listed} by/at/on/from/in | {us} is listed
    temporarily/permanently/currently/been blocked
    banned sender/sending/ip/host/client
    host network | reputation | go away | no smtp service
    unusual rate of unsolicited
    s3140/s3150/s77719 | sc-001/sc-002/sc-003/sc-004 | dy-001/dy-002 | ou-001/ou-002
    rp-001/rp-002/rp-003 | bl000*
    {yahoo} | {aol}
    dynamic*/transient/residential/generic/broadband ip/ips/host/hosts/ip-addr/addresses/pool
    dynamic*/residential or/and/, dynamic/residential | dial~up | open~relay | open~proxy
    botnet/zombie/infected
    no_longer/never accept*/allow*/take*/receive [any/e*mail/messages]* from
    not/n't/don't/doesn't [currently] accept/accepting/accepted/allow/take [any/direct/e*mail/mail/
        messages/connections/traffic/smtp]* from your/this/that/the/dynamic/residential/you/ip/hosts
    e*mail/mail/messages/message/traffic .. from your/this .. {held}
    messages/message/mail from .. deferred | temporarily deferred | weren't sent
    connection/connections not_accepted/refused/rejected/will_not_be_accepted from/due/by
    connections will not be accepted
    access from/by/for [the/your/this] ip/ip-addr/host/client/server | access to this mail system
    not in [our/the/my] white~list/allow~list/safe~list
    spammer*/spamming | not white~listed | spam source | source of spam | known spam
    sending/sends/sent [us] spam | too many/much spam*/junk/abuse
    you are not allowed/permitted/authorized/authorised/welcome to_connect/to_send/here
    accept e*mail over ipv6
    smtp server of your isp
    # in other languages
    lista_blanca/lista_negra/lista_nera/lista_bianca/liste_noire/liste_blanche/schwarze_liste
    adresse_ip/votre_ip/votre_serveur/ihre_ip/ip-adresse/indirizzo_ip/direccion_ip/endereco_ip/
        adres_ip .. bloqu*/bloc*/gesperrt/blockiert/geblockt/zablokowan*/refus*
    """,
    us=_US,
    held=_HELD,
    ip=_IP,
    listed=r"(?<!not )\blisted\b",
    yahoo=r"\[(?:tss|bl|ph|gl)\d\d\]",
    aol=r"\b(?:rtr|rly|hvu|con|dyn)[:/ ][a-z]{1,2}\d{0,2}\b",
)

RDNS = phrases(
    """
    cannot/can_not/can't/could_not/unable_to find/resolve/get/determine/verify
        your [reverse] host~name/address/ip/ip-addr/name
    unable to resolve your | ip name lookup failed
    reverse~dns/reverse~hostname/reverse_host_name/reverse~name/reverse~lookup/reverse~record
    rdns | ptr | in-addr
    without [a] valid sender domain
    dns_inverse/resolution_inverse/risoluzione_inversa
    """
)

SENDER_AUTH = phrases(
    """
    spf | dkim | dmarc | openspf | sender policy framework | domain~keys
    unauthenticated e*mail/mail/sender/message
    e*mail/message/mail [is/was] not authenticated
    anti~spoofing/spoofed/spoofing | forged sender/mail/from
    """
)

_SENDER = phrases(
    """
    sender/senders/sender's/sending e*mail/address/adress/domain/host
    sender/senders/originator/mfrom/absender*/expediteur/mittente/remitente/remetente/afzender
    envelope~sender/envelope~from/mail_from/return~path/reverse~path/from_address/from_domain
    """
)
_REFUSED = phrases(
    """
    reject*/denied/refused/refus*/invalid/blocked/banned/unknown/unrout*/prohibited/disallowed/bad
    verif*/callout/fail*/forged/mismatch*/malformed/unacceptable/syntax/error/null/must/required
    not/doesn't/isn't/has_no/no_valid/no_mx | rifiut*/inconnu/unbekannt
    """
)
SENDER = phrases(
    """
    {sender} .. {refused}
    invalid/bad/unknown/unverified/unresolvable/unroutable/rejected/refused/null/empty/banned/
        blocked/malformed/verify/no_such [the/your/envelope/mx/for]* {sender}
    domain of/for [the/your] sender
    sender/sending/from .. domain .. exist*/resolv*/found/invalid/mx/record
    bad~mail~from
    callout/call-out/callback/call-ahead
    null/empty sender/return/envelope
    bounce/bounces/bounce_messages not/are_not/is_not accepted/allowed | accept/reject bounces
    """,
    sender=_SENDER,
    refused=_REFUSED,
)

HELO = phrases(
    """
    {helo} .. {wrong}
    invalid/bad/bogus/forged/fake/wrong/illegal/malformed/rejected/suspicious/missing/your {helo}
    need fully~qualified hostname
    bad~helo
    """,
    # "helo=<…>" is a note for the log, and "HELO first" a matter of order.
    helo=r"\b(?:helo|ehlo)\b(?!=)(?!.{0,4}first)",
    wrong=phrases(
        """
        reject*/invalid/bad/not/denied/refused/fail*/mismatch*/wrong/must/need/needs/does/unknown
        forged/fake/impersonat*/syntax/resolv*/illegal/blocked/banned/malformed/should/policy
        """
    ),
)

TLS = phrases(
    """
    must/need_to/have_to/please [first] issue/use/start/send [a/the] starttls/tls/ssl/encryption
    starttls/tls/ssl/encryption/encrypted_connection [is] required/needed/mandatory/enforced
    starttls [command] first
    requires/require/only_accepts [the/a/use_of] starttls/tls/encryption/encrypted*
    session/connection/message/mail not_encrypted/unencrypted
    """
)

AUTH = phrases(
    """
    authentication/authentification/auth [is] required/needed/necessary/requise/erforderlich/first
    must/need_to/have_to/please/should/required_to [first/be] authenticat*/log~in
    requires/require authentication/smtp_auth | smtp~auth | no auth/authentication
    client/user/you/session was/is/are not authenticated/logged_in
    not authenticated | only authenticated | authenticated users/senders/clients only
    must have an account
    """
)

# --- the mailbox ------------------------------------------------------------------------

_WHO = phrases(
    """
    user/users/recipient/recipients/rcpt/mail~box/mail~boxes/account/accounts/addressee/address/
        addresses/alias/login/person/subscriber/customer/member/local~part/username/user~id/e-mail/
        email/inbox/destination/employee/receiver
    """
)
_ABSENT = phrases(
    """
    unknown/invalid/bad/wrong/illegal/undeliverable/unrouteable/unroutable/unallocated/misspelled
    unrecognized/unrecognised/nonexist*/non-exist*/inexist* | never heard/existed
    not known/recognized/recognised/found/located/identified/valid/listed/local/registered/our/here/
        on/in/hosted/present/defined/user/existing/assigned/handled/served/deliverable/configured
    not be found/located/identified
    not a/an/the/our valid/listed/local/registered/known/user/existing/recipient
    isn't [a/an/our] valid/listed/local/registered/known
    do_not/does_not/did_not/doesn't/dosn't/dosen't/don't/didn't [currently] exist/match/live/belong
    do_not/does_not/doesn't/don't have a/an
    no exist* | not exist* | no longer exist*/valid/here/on/available/with/works/at
    no such/matching/valid/known/mailbox/record/account/user
    cannot/can_not/can't/couldn't/unable_to [be] find/found/locate/recognize/recognise/identify
    """
)
NOT_FOUND = phrases(
    """
    {who} .. {absent}
    {absent} .. {who}
    no such user/recipient/person/name/local/id/here
    no [local/valid] mail~box/account/user/users/recipient/recipients/one/person/body/address
        here/by/with/of/matching/named/found/at_this/for/on_file/that/in
    nobody [here] by that name | no local mail~box/user | never heard of
    unroute* | unknown local
    doesn't/does_not/do_not/don't have a/an .. account
    not our user/customer/subscriber
    badrcptto/validrcptto
    nosuchuser/recipnotfound/recipientnotfound/userunknown/unknownuser
    mailing list expansion problem
    cuda nsu
    # French
    utilisateur/destinataire/adresse/compte/boite/bal/abonne ..
        inconnu*/inexist*/n'existe/introuvable/invalide/non_trouve*/incorrect*/erron*/pas_valide
    inconnu*/inexistant*/aucun/aucune utilisateur/destinataire/adresse/compte/boite
    # German
    empfanger*/empfaenger*/benutzer*/adresse/postfach/konto/mailbox/teilnehmer/nutzer* ..
        unbekannt*/existiert/nicht_gefunden/nicht_bekannt/nicht_vorhanden/nicht_gultig/ungultig*/
        ungueltig*/gibt_es_nicht
    unbekannte*/ungultige*/ungueltige*/kein/keine
        empfanger*/empfaenger*/benutzer*/adresse/postfach/konto/nutzer*
    # Spanish and Portuguese
    usuario/destinatario/direccion/endereco/cuenta/conta/buzon/casilla/caixa/correo ..
        desconocid*/desconhecid*/no_existe/nao_existe/inexist*/no_encontrad*/nao_encontrad*/
        invalid*/incorrect*
    no_existe/nao_existe/desconocido/desconhecido [el/la/o/a]
        usuario/destinatario/cuenta/conta/buzon/caixa/direccion/endereco
    no tiene [una] cuenta
    # Italian
    utente/destinatario/indirizzo/casella ..
        sconosciut*/inesistente/non_esiste/non_trovat*/non_valid*/invalid*/errat*
    nessun/nessuna/sconosciuto/inesistente utente/casella/destinatario/indirizzo
    # Dutch
    gebruiker/ontvanger/adres/postbus/postvak ..
        onbekend/bestaat_niet/niet_gevonden/niet_bekend/ongeldig
    onbekende/ongeldige/ongeldig/geen gebruiker/ontvanger/adres/postbus/postvak
    # Polish and Czech
    uzytkownik*/odbiorc*/adres*/skrzynk*/konto ..
        nieznan*/nie_istniej*/nie_znalezion*/nieprawidlow*
    nieznany/nie_ma_takiego/nie_istnieje/brak uzytkownik*/odbiorc*/adres*/skrzynk*
    uzivatel/prijemce/schranka/adresa .. neexist*/neznam*/nenalezen*
    # Swedish, Norwegian, Danish, Turkish
    mottagare*/mottaker*/modtager*/anvandare*/bruker*/bruger* ..
        okand*/ukjent/ukendt/finns_inte/finnes_ikke/findes_ikke/saknas
    okand/ukjent/ukendt mottagare/mottaker/modtager/anvandare/bruker/bruger
    kullanici/alici/adres/hesap .. bulunamadi/bilinmiyor/gecersiz/yok
    # Russian, Ukrainian, Chinese, Japanese
    пользовател*/получател*/ящик*/адрес*/користувач* ..
        не_найден*/не_существ*/неизвест*/не_знайден*/отсутству*
    нет_такого/неизвестный/несуществующ* пользовател*/получател*/ящик*/адрес*
    用户/用戶/收件人/邮箱/郵箱/信箱/帐号/账号/地址 .. 不存在/未找到/无效/無效
    ユーザ*/宛先/メールアドレス/受信者 .. 不明/存在しま*/見つかりま*/無効/ありません
    """,
    who=_WHO,
    absent=_ABSENT,
)

UNAVAILABLE = phrases(
    """
    mail~box/user/recipient/account/address [name/is/was/currently]*
        unavailable/not_available/not_allowed
    mail~box .. unavailable
    user/recipient/mailbox cannot/can't/unable_to [be] deliver*/receive*/accept*
    not_deliverable/undeliverable
    """
)

DISABLED = phrases(
    """
    {box} .. {gone}
    disabled/suspended/deactivated/inactive/locked/closed/discontinued/expired/terminated
        user/recipient/mail~box/account/inbox
    no longer accepts/accepting/accept/receives/receiving mail/e*mail/messages
    mailbox currently suspended
    # French, German, Spanish, Portuguese, Italian, Dutch, Polish, Russian, Chinese
    boite/compte/bal/adresse .. desactive*/suspend*/archiv*/bloque*/ferme*/inacti*/resili*
    postfach/konto/mailbox/benutzer*/empfanger* ..
        deaktiviert/gesperrt/geschlossen/stillgelegt/inaktiv/gekundigt
    cuenta/buzon/conta/caixa/usuario ..
        desactivad*/deshabilitad*/suspendid*/suspens*/desativad*/bloquead*/inactiv*/inativ*/
        cancelad*/cerrad*/encerrad*
    casella/account/utente/mailbox ..
        disabilitat*/disattivat*/sospes*/bloccat*/chius*/inattiv*/scadut*
    account/postvak/mailbox/gebruiker ..
        geblokkeerd/uitgeschakeld/opgeheven/gesloten/gedeactiveerd/inactief
    konto/skrzynk*/uzytkownik* .. zablokowan*/nieaktywn*/wylaczon*/zawieszon*/zamkniet*
    ящик*/аккаунт*/пользовател* .. заблокирован*/отключ*/удал*/неактив*
    用户/帐号/账号/邮箱/信箱 .. 停用/禁用/冻结/锁定/注销/暂停
    """,
    box=phrases(
        """
        user/users/recipient/recipient's/mail~box/account/e*mail_address/mail_address/this_address/
            alias/inbox/login/customer/subscriber/employee
        """
    ),
    gone=phrases(
        """
        disabled/suspend*/deactivated/inactive/inactivity/locked/discontinued/terminated/closed
        cancelled/canceled/expired/frozen/archiv*/retired/removed/deleted/disconnected/abandoned
        dormant/decommissioned | not active/activated/enabled/been_activated
        no longer active/in_use/in_service/accept*/receiv*/used/monitored/employed/works/valid
        """
    ),
)

MAILBOX_BLOCKED = phrases("mail~box/account [is/was/has/been/currently/temporarily]* blocked")

FULL = phrases(
    """
    {box} .. full
    full mail~box/inbox
    over~quota
    quota [is/was/has/been/be/limit/usage/would]* full/exceeded/reached/violat*/exhausted/overflow
    exceed*/over/above/beyond/surpass*/reached
        [the/its/his/their/allowed/allotted/allocated/maximum/mail/user/storage/mailbox/disk/hard/
        size/message]* quota/allocation/storage/storage_limit/disk_space
    out of [disk/storage/mail] storage/disk/space/quota/room
    exhausted [the/allowed/its/their]* storage/space/quota
    insufficient/not_enough/no/lack_of [free/more/mail/mailbox/disk/storage/user/available]*
        space/storage/room/quota
    no space left
    mail~box size/storage/quota limit/exceeded | storage limit/quota/allocation
    disk~quota/user_quota/account_quota/mailbox_quota | would exceed
    # French, German, Spanish, Portuguese, Italian, Dutch, Polish, Czech, Russian, Chinese, Japanese
    boite/bal/messagerie/quota/espace .. plein*/satur*/depasse*/insuffisant*
    postfach/speicher*/kontingent/quota .. voll/uberschritten/ueberschritten/erschopft
    buzon/casilla/cuota/cuenta/bandeja .. lleno/llena/excedid*/superad*/sin_espacio
    caixa/quota/cota/conta .. cheio/cheia/excedid*/ultrapassad*/lotad*
    casella/quota/spazio .. piena/pieno/superat*/esaurit*
    postvak/mailbox/postbus/quota .. vol/overschreden/onvoldoende
    skrzynk*/limit/konto/quota .. pelna/przepelnion*/przekroczon*/zapelnion*
    schranka .. plna/preplnena
    ящик*/скриньк* .. переполнен*/полон/заполнен*
    邮箱/信箱/郵箱/空间/空間 .. 已满/满/滿/不足/超限
    メールボックス .. 一杯/いっぱい/容量
    """,
    box=phrases(
        """
        mail~box/inbox/mail~folder/maildir/account/user/recipient/recipient's/quota/disk/storage/
            mail~store/mail~drop
        """
    ),
)

NOT_A_FULL_MAILBOX = phrases(
    """
    system storage | insufficient system | spool | server .. disk/storage
    sending/outgoing/daily/hourly/sender/submission/rate/e*mail/message/messages/connection/
        recipient/recipients quota/limit
    message size/length/too | size exceeds/exceeded | too large/big
    exceeded .. rate/connection/number_of/messages/per
    """
)
"""Words of size, speed and our own allowance, which sound like a full mailbox and are not."""

RATE = phrases(
    """
    user/recipient/mailbox/account/contact .. receiving mail/e*mail/messages .. quickly/rate
    recipient/user/mailbox .. exceeded .. message_rate/messages_they_can_receive
    recipient's .. receive limit
    """
)

# --- not now ----------------------------------------------------------------------------

_SPAN = phrases("sec/secs/seconds/second/min/mins/minutes/minute/hour/hours/time/while")
GREYLIST = phrases(
    """
    greylist*/graylist*/grey-list*/gray-list*/postgrey
    come back
    try/retry [it/sending/delivery/again/later]* in/after .. {span}
    retry in/after | wait/delayed .. {span}
    not yet authorized to deliver | first time/contact
    verification [is] in progress
    liste_grise/lista_gris/lista_grigia
    """,
    span=_SPAN,
)

THROTTLE = phrases(
    """
    too many/much [open/concurrent/simultaneous/smtp/bad/invalid/unknown]*
        connection*/session*/message*/recipient*/mail*/email*/command*/error*/request*
    too frequent*/fast/quickly
    rate/connection/message/session/frequency/sending [is/has/been/was]*
        limit*/exceed*/throttl*/restricted
    exceeded/exceeds/exceed/limit/limits/reached ..
        rate/connection/connections/sessions/messages/recipients/per_hour/per_day/volume
    throttl* | slow down | ratelimit* | rate~limit* | excessive volume
    server/system/service/host/port/ports/we/resources [is/are/currently/too/very/all]*
        busy/overloaded/exhausted
    load [average/is]* too high
    recipients limit | recipient thread limit
    maximum number of [concurrent/smtp/server]* connections/recipients/sessions
    trop_de/demasiadas/troppe/te_veel/zbyt_wiele/zu_viele
        connexions/messages/conexiones/connessioni/verbindingen
    """
)

RELAY = phrases(
    """
    relay/relaying [access/mail/attempt/rejected/is/was/of/to]* denied/prohibited/refused/rejected/
        forbidden/not_permitted/not_allowed/not_authorized/not_enabled
    denied relay | don't/do_not/not handle .. domain | not a local domain
    cannot/can_not/can't/unable_to/don't/do_not/does_not/won't/will_not/permitted_to/allowed_to/
        authorized_to/account .. to relay
    cannot/can_not/can't/unable_to/don't/do_not/does_not/won't/will_not/permitted_to/allowed_to/
        not_a relay
    rcpthosts | tenantattribution
    domain .. not_hosted/not_local/not_served/not_handled/not_accept*/not_exist*/not_found/
        not_valid/not_known/not_allowed/unknown/isn't_in/not_in/lookup_failed
    unknown/invalid/no_such/bad/non-local [mail] domain/host
    host/domain/dns [name] not_found/unknown/lookup_failed
    find the recipient domain | non-accepted domain
    no route to host/domain | null~mx
    """
)

SMTPUTF8 = phrases("smtputf8 | non-ascii | internationalized e*mail/address/addresses")

POLICY = phrases(
    """
    policy/policies
    spam/junk/unsolicited/phishing/malware/virus/trojan/suspicious/bulk
    content/attachment
    prohibited/prohibition/administrative*
    message/mail/e*mail [was/is/has/not/been]* rejected/refused/denied/accepted/blocked
    envelope blocked | security | filter* | restricted/restriction* | members only
    not authorized/authorised
    """
)
