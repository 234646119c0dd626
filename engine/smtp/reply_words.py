"""The wordings of SMTP refusals, in families of phrases. Pure.

Phrases are matched against folded text (`engine.smtp.reply.fold_text`): lower case, without
accents, addresses and repeated codes, with single blanks. Each family covers known wordings of mail
servers and providers; `engine.smtp.reply_rules` decides what a family means.
The notation is that of `engine.smtp.phrases`.
"""

from __future__ import annotations

from engine.smtp.phrases import compile_phrases

# --- about us ---------------------------------------------------------------------------

# Not the relayed refusal in Postfix's "host mx[192.0.2.1] said: 550 … rejected".
_IP = r"[\[(]{0,2}\b\d{1,3}(?:\.\d{1,3}){3}\b(?!\]? said)"
_US = compile_phrases(
    """
    your/sending/sender/sender's/source/remote/connecting/client/the/this/originating
        ip/ips/ip-addr/server/servers/mail_server/mailserver/host/hosts/mta/network/system/subnet/
        isp/provider/connection/country/sending_ip
    """
)
_HELD = (
    compile_phrases(
        """
    black~list*/block/blocked/blocks/blocking/banned/reject*/denied/deny/refused/suspended
    bad/poor/low reputation | good reputation | rate limited | exceeded | spam* | abuse/abusive
    not allowed/accepted/permitted/welcome/authorized/authorised
    """
    )
    + r"(?! to relay)"
)
BLOCKED = compile_phrases(
    """
    {us} .. {held}
    {ip} .. {held}
    ip/ips/ip-addr .. {held}
    bad/invalid/black/illegal/suspicious/untrusted/forbidden/spam
        [sending/sender/remote/source/client]* ip/ips/ip-addr
    ip/ips/ip-addr [is/are/has_been]* forbid*/check/used_up/invalid/unauthorized
    forbidden by/from/for [your/this/the]* ip/ips/ip-addr/host/server
    your access/region/domain/organization/organisation/company/location .. {held}
    you are/have_been/were [currently/temporarily/permanently/not]*
        banned/blocked/denied/welcome/reject*/refused
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
    banned sender/sending/ip/host/client | dictionary attack | unauthorized interface
    host network | reputation | go away | no smtp service
    unusual rate of unsolicited
    s3140/s3150/s77719 | sc-001/sc-002/sc-003/sc-004 | dy-001/dy-002 | ou-001/ou-002
    rp-001/rp-002/rp-003 | bl000*
    {yahoo} | {aol}
    dynamic*/transient/residential/generic/broadband ip/ips/host/hosts/ip-addr/addresses/pool
    dynamic*/residential or/and/, dynamic/residential | dial~up | {open_relay} | open~prox*
    botnet/zombie*/infected | listed as abus* | too many spams
    no_longer/never accept*/allow*/take*/receive [any/e*mail/messages]* from
    not/n't/don't/doesn't [currently] accept/accepting/accepted/allow/take [any/direct/e*mail/mail/
        messages/connections/traffic/smtp]* from your/this/that/the/dynamic/residential/you/ip/hosts
    e*mail/mail/messages/message/traffic .. from your/this .. {held}
    messages/message/mail from .. deferred | temporarily deferred | weren't sent
    connection/connections not_accepted/refused/rejected/will_not_be_accepted from/due/by
    connections will not be accepted | connection/connections [is/was/are/has_been/not]*
        denied/rejected/blocked/authorized/authorised
    no valid recipients from | confirm this mail server | {us} requires confirmation
    unwanted/unsolicited mail/messages .. from
    access from/by/for [the/your/this] ip/ip-addr/host/client/server/location/network
    access to this mail system
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
    # "Open relay not allowed" is Mimecast's reply for a domain that it does not serve.
    open_relay=r"\bopen[ -]?relays?\b(?! not allowed)",
    yahoo=r"\[(?:tss|bl|ph|gl)\d\d\]",
    aol=r"\b(?:rtr|rly|hvu|con|dyn)[:/ ][a-z]{1,2}\d{0,2}\b",
)

RDNS = compile_phrases(
    """
    cannot/can_not/can't/could_not/unable_to find/resolve/get/determine/verify
        your [reverse] host~name/address/ip/ip-addr/name
    ip name lookup failed
    reverse~dns/reverse~hostname/reverse_host_name/reverse~name/reverse~lookup/reverse~record
    reverse .. dns | dns entry/record for your | ip must resolve
    rdns | ptr | in-addr | dns check fail* | failure in dns | unresolvable relay host
    cannot/can_not/can't/could_not/unable_to resolve your
    no matches to nameserver query
    without [a] valid sender domain
    dns_inverse/resolution_inverse/risoluzione_inversa
    """
)

SENDER_AUTH = compile_phrases(
    """
    spf | dkim | dmarc | openspf | sender policy framework | domain~keys
    unauthenticated e*mail/mail/sender/message
    e*mail/message/mail [is/was] not authenticated
    anti~spoofing/spoofed/spoofing | forged sender/mail/from
    """
)

_SENDER = compile_phrases(
    """
    sender/senders/sender's/sending e*mail/address/adress/domain/host
    sender/senders/originator/mfrom/absender*/expediteur/mittente/remitente/remetente/afzender
    envelope~sender/envelope~from/mail~from/return~path/reverse~path
    from/from: address/addresses/domain/domains
    """
)
_REFUSED = compile_phrases(
    """
    reject*/denied/refused/refus*/invalid/blocked/banned/unknown/unrout*/prohibited/disallowed/bad
    verif*/callout/fail*/forged/mismatch*/malformed/unacceptable/syntax/error/null/must/required
    not/doesn't/isn't/has_no/no_valid/no_mx | rifiut*/inconnu/unbekannt
    unvalidated/unverified/unauthorized/unauthorised/blacklisted/suspended/mismatch*
    """
)
SENDER = compile_phrases(
    """
    {sender} .. {refused}
    invalid/bad/unknown/unverified/unresolvable/unroutable/rejected/refused/null/empty/banned/
        blocked/malformed/verify/no_such/fake/forged/denies/deny/rejects/refuses
        [the/this/your/envelope/mx/for]* {sender}
    mail/e*mail/message/messages originating/coming from [that/this/your/the]* domain .. {refused}
    domain of/for [the/your] sender | requires/require [a] valid {sender}
    sender/sending/from .. domain .. exist*/resolv*/found/invalid/mx/record
    bad~mail~from
    {callout} | callback/call-ahead
    null/empty sender/return/envelope
    bounce/bounces/bounce_messages not/are_not/is_not accepted/allowed | accept/reject bounces
    """,
    # Exim's "callout verification failed" is about the recipient.
    callout=r"\bcall-?out\b(?! verification failed)",
    sender=_SENDER,
    refused=_REFUSED,
)

HELO = compile_phrases(
    """
    {helo} .. {wrong}
    invalid/bad/bogus/forged/fake/wrong/illegal/malformed/rejected/suspicious/missing/your {helo}
    need fully~qualified hostname
    bad~helo
    """,
    # "helo=<…>" is log detail, and "HELO first" is about the order of commands.
    helo=r"\b(?:helo|ehlo)\b(?!=)(?!.{0,4}first)",
    wrong=compile_phrases(
        """
        reject*/invalid/bad/not/denied/refused/fail*/mismatch*/wrong/must/need/needs/does/unknown
        forged/fake/impersonat*/syntax/resolv*/illegal/blocked/banned/malformed/should/policy
        """
    ),
)

TLS = compile_phrases(
    """
    must/need_to/have_to/please [first] issue/use/start/send [a/the] starttls/tls/ssl/encryption
    starttls/tls/ssl/encryption/encrypted_connection [is] required/needed/mandatory/enforced
    starttls [command] first
    requires/require/only_accepts [the/a/use_of] starttls/tls/encryption/encrypted*
    session/connection/message/mail not_encrypted/unencrypted
    """
)

AUTH = compile_phrases(
    """
    authentication/authentification/auth [is] required/needed/necessary/requise/erforderlich/first
    must/need_to/have_to/please/you_should/required_to [first/be] authenticat*/log~in
    requires/require authentication/smtp_auth | smtp~auth* | no auth/authentication
    turn_on/enable/use/using [smtp]* authentication/auth | auth/authentication mechanism
    auth/authentication failed/failure/not_allowed | local user/users only
    client/user/you/session was/is/are not authenticated/logged_in
    not authenticated | only authenticated | authenticated users/senders/clients only
    must have an account
    """
)

# --- the mailbox ------------------------------------------------------------------------

# At the start: folding has removed the address that the reply begins with.
_IS_GONE = (
    r"^[ .:;,-]*(?:is|has been|was) (?:now |currently |temporarily |no longer )*"
    r"(?:disabled|suspended|deactivated|inactive|locked|closed|discontinued|expired|terminated"
    r"|active)\b"
)
_IS_NOT = r"^[ .:;,-]*(?:is )?not (?:an? )?(?:valid|known|registered|used|in use)\b"

_WHO = compile_phrases(
    """
    user/users/recipient/recipients/rcpt/mail~box/mail~boxes/account/accounts/addressee/address/
        addresses/alias/login/person/subscriber/customer/member/local~part/username/user~id/e-mail/
        email/inbox/destination/employee/receiver
    """
)
_ABSENT = compile_phrases(
    """
    unknown/invalid/bad/wrong/bogus/malformed/illegal/undeliverable/unrouteable/unroutable/unallocated/misspelled
    unrecognized/unrecognised/nonexist*/non-exist*/inexist* | never heard/existed
    not known/recognized/recognised/found/located/identified/valid/listed/local/registered/our/here/
        on/in/hosted/present/defined/user/existing/assigned/handled/served/deliverable/configured
    not be found/located/identified
    not a/an/the/our
        valid/listed/local/registered/known/user/existing/recipient/active/member/mailbox
    not in/on/used/use/ok
    cannot/can_not/can't/could_not be verified | verification problem
    isn't [a/an/our] valid/listed/local/registered/known
    do_not/does_not/did_not/doesn't/dosn't/dosen't/don't/didn't [currently]
        exist/exists/match/live/belong
    do/does no exist*
    do_not/does_not/doesn't/don't have a/an
    no exist* | not exist* | no longer exist*/valid/here/on/available/with/works/at
    no such/matching/valid/known/mailbox/record/account/user
    cannot/can_not/can't/couldn't/unable_to [be] find/found/locate/recognize/recognise/identify
    """
)
NOT_FOUND = compile_phrases(
    """
    {who} .. {absent}
    {absent} .. {who}
    no such user/recipient/person/name/local/id/here | no mail~box | is no longer valid
    no [local/valid] mail~box/account/user/users/recipient/recipients/one/person/body/address
        here/by/with/of/matching/named/found/at_this/for/on_file/that/in
    nobody [here] by that name | no local mail~box/user | never heard of
    unroute* | unknown local
    doesn't/does_not/do_not/don't have a/an .. account
    not [a/an/our/the]* user/customer/subscriber [of/on/at] [this/our/the]*
        server/system/host/domain
    not our user/customer/subscriber
    don't/doesn't/do_not/does_not exist* [that/this/such]* {who}
    not listed/found/known/present in [the/our/public/domino]*
        directory/address_book/name/ldap
    {is_not}
    home directory missing | missing home directory
    badrcptto/badrecipientto/validrcptto | incorrectly addressed
    envelope recipient [has/was/been]* denied
    don't/doesn't/do_not/does_not handle/accept mail for [that/this]* user/recipient/mailbox
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
        invalid*/incorrect*/erron*/errad*
    no se encuentra en
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
    is_not=_IS_NOT,
)

NO_SUCH = compile_phrases(
    "no such user/recipient/mailbox/address | {who} unknown | unknown {who}", who=_WHO
)
"""Outranks an enhanced code for a disabled mailbox."""

UNAVAILABLE = compile_phrases(
    """
    mail~box/user/recipient/account/address [name/is/was/currently]*
        unavai*/not_available/not_allowed
    mail~box .. unavai*
    unavailable [mail]* user/recipient/mailbox/account
    failed to deliver to
    cannot/can_not/can't/could_not/unable_to deliver [this/your/the]*
        [mail/e*mail/message/messages]* to/for
    can't/cannot/don't/do_not accept user/recipient/mail_for
    user/recipient/mailbox cannot/can't/unable_to [be] deliver*/receive*/accept*
    not_deliverable/undeliverable
    """
)

DISABLED = compile_phrases(
    """
    {box} .. {gone}
    disabled/suspended/deactivated/inactive/locked/closed/discontinued/expired/terminated
        user/recipient/mail~box/account/inbox
    no longer accepts/accepting/accept/receives/receiving mail/e*mail/messages
    mail receiving/reception/delivery [is/was/has_been]* disabled/suspended/stopped
    {is_gone}
    domain [is/has_been/was/currently/temporarily]* suspended/disabled/expired/deactivated
    suspend the service | account/mailbox/mailaddress/address [is]* administratively disabled
    no recipient activity | to enable receiving | unmonitored/unattended
    no longer [being] in_use/used/monitored/read/checked
    mailbox currently suspended
    # French, German, Spanish, Portuguese, Italian, Dutch, Polish, Russian, Chinese
    boite/compte/bal/adresse .. desactive*/suspend*/archiv*/bloque*/ferme*/inacti*/resili*
    postfach/konto/mailbox/benutzer*/empfanger* ..
        deaktiviert/gesperrt/geschlossen/stillgelegt/inaktiv/gekundigt
    cuenta/buzon/conta/caixa/usuario ..
        desactivad*/deshabilitad*/suspendid*/suspens*/desativad*/bloquead*/inactiv*/inativ*/
        cancelad*/cerrad*/encerrad*
    cuenta/buzon/casilla/conta/caixa .. expirad*/falta_de_uso
    casella/account/utente/mailbox/indirizzo ..
        disabilitat*/disattivat*/sospes*/bloccat*/chius*/inattiv*/scadut*
    account/postvak/mailbox/gebruiker ..
        geblokkeerd/uitgeschakeld/opgeheven/gesloten/gedeactiveerd/inactief
    konto/skrzynk*/uzytkownik* .. zablokowan*/nieaktywn*/wylaczon*/zawieszon*/zamkniet*
    ящик*/аккаунт*/пользовател* .. заблокирован*/отключ*/удал*/неактив*
    用户/帐号/账号/邮箱/信箱 .. 停用/禁用/冻结/锁定/注销/暂停
    """,
    is_gone=_IS_GONE,
    box=compile_phrases(
        """
        user/users/recipient/recipient's/mail~box/account/e*mail_address/mail_address/this_address/
            alias/inbox/login/customer/subscriber/employee
        """
    ),
    gone=compile_phrases(
        """
        disabled/suspend*/deactivated/inactive/inactivity/locked/discontinued/terminated/closed
        cancelled/canceled/expired/frozen/archiv*/retired/removed/deleted/disconnected/abandoned
        dormant/decommissioned | not active/activated/enabled/been_activated
        no longer active/in_use/in_service/accept*/receiv*/used/monitored/employed/works/valid
        """
    ),
)

MAILBOX_BLOCKED = compile_phrases(
    "mail~box/account [is/was/has/been/currently/temporarily]* blocked"
)

FULL = compile_phrases(
    """
    # A quota is mentioned only when it is used up; NOT_A_FULL_MAILBOX excludes other quotas.
    {quota} | over quote
    {box} .. {brimful}
    full mail~box/inbox | mail~box [has]* exceeded | mail~box [size/storage]* limit/limits
    exceed*/over/above/beyond/surpass*/reached/exhausted
        [the/its/his/their/allowed/allotted/allocated/maximum/mail/user/storage/mailbox/disk/hard/
        size/message]* allocation/storage/storage_limit/space/disk~space/mail~box
    out of [disk/storage/mail] storage/disk/space/room
    does/doesn't/do_not/does_not have enough [free/disk/storage/mail]* space/storage/room
    insufficient/not_enough/not_sufficient/no/lack_of
        [free/more/mail/mailbox/disk/storage/user/available]* space/storage/room/disk~space
    space available in .. {box} | maximum/allowed mail~box size | mail~box size exceeded
    too_many/too_much messages/mails on/in [this/the]* mail~box/server/inbox/account
    storage/disk~space limit/allocation | allowed storage | receiving limits
    no space left | too much mail data | would exceed
    # French, German, Spanish, Portuguese, Italian, Dutch, Polish, Czech, Russian, Chinese, Japanese
    boite/bal/messagerie/quota/espace .. plein*/satur*/depasse*/insuffisant*
    postfach/speicher*/kontingent/quota/mailbox/konto .. voll/uberschritten/ueberschritten/erschopft
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
    quota=r"\b(?:over)?quota\b",
    brimful=compile_phrases(
        """
        full | used up | exceeds/exceeding [its/the/maximum/allowed]* size/space
        space/storage/room not_enough/insufficient/exhausted/exceeded
        too_many/too_much messages/mails
        reached [its/their/the]* [maximum/allowed]* size/limit/capacity
        """
    ),
    box=compile_phrases(
        """
        mail~box/inbox/mail~folder/maildir/account/user/recipient/recipient's/quota/disk/storage/
            mail~store/mail~drop
        """
    ),
)

NOT_A_FULL_MAILBOX = compile_phrases(
    """
    system storage | insufficient system | spool | server .. disk/storage
    your/queue/organization/organisation/tenant quota
    sending/outgoing/daily/hourly/sender/submission/rate/connection/message/messages quota/limit
    e*mail/recipient/recipients limit
    message size/length/too | size exceeds/exceeded | too large/big
    exceeded .. rate/connection/number_of/messages/per
    """
)
"""Limits of size, rate and our own allowance, whose wordings resemble a full mailbox's."""

MOVED = (
    compile_phrases(
        """
        moved | relocated | new e*mail/address/mailbox | please use | use instead
        changed [his/her/their/the/its]* e*mail/address
        forward/forwards/forwarded [your/the/mail/messages/it]* to | now at
        deplace/demenage/umgezogen/verzogen/nouvelle_adresse/neue_adresse/nueva_direccion
        """
    )
    + r"|\btry(?: instead)?[ .:;]*$"
)
"""At the end: folding has removed the new address."""

RATE = compile_phrases(
    """
    user/recipient/mailbox/account/contact .. receiving mail/e*mail/messages .. quickly/rate
    recipient/user/mailbox .. exceeded .. message_rate/messages_they_can_receive
    recipient's .. receive limit
    """
)

# --- temporary refusals -----------------------------------------------------------------

_SPAN = compile_phrases("sec/secs/seconds/second/min/mins/minutes/minute/hour/hours/time/while")
GREYLIST = compile_phrases(
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

THROTTLE = compile_phrases(
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

# --- the domain, and policies -----------------------------------------------------------

RELAY = compile_phrases(
    """
    relay/relaying [access/mail/message/msg/traffic/attempt/rejected/check/is/was/of/to/for]*
        denied/prohibited/refused/rejected/forbidden/disallowed/fail*/disabled/
        not_permitted/not_allowed/not_authorized/not_enabled/not_supported
    relay/relaying [mail/messages/of]* to/for .. not_permitted/not_allowed/prohibited/denied
    relay check .. fail* | {relaying} is not allowed/permitted/supported | use me .. as a relay
    no relay/relaying allowed/permitted | not configured/set_up/able to_relay
    unrouteable/unroutable/unrouted mail~domain/domain
    no mail host/hosts/server/servers for [this/that/the]* domain | no-domain
    denied/denies/unauthorized/unauthorised relay/relaying | no longer relay/relays/relaying
    not a gateway | not [a/our/the]* local host
    don't/do_not/not handle .. domain | not a local domain
    cannot/can_not/can't/unable_to/don't/do_not/does_not/won't/will_not/permitted_to/allowed_to/
        authorized_to/account .. to relay
    cannot/can_not/can't/unable_to/don't/do_not/does_not/won't/will_not/permitted_to/allowed_to/
        not_a relay
    rcpthosts | tenantattribution
    domain .. not_hosted/not_local/not_served/not_handled/not_accept*/not_exist*/not_found/
        not_valid/not_known/not_allowed/not_reachable/unknown/isn't_in/not_in/lookup_failed/not_resolve
    unknown/invalid/no_such/bad/non-local [mail] domain/host
    host/domain/dns [name] not_found/unknown/lookup_failed
    find the recipient domain | non-accepted domain
    no route [found]* to host/domain | null~mx
    """,
    relaying=r"\brelaying\b\)?",
)

SMTPUTF8 = compile_phrases("smtputf8 | non-ascii | internationalized e*mail/address/addresses")

POLICY = compile_phrases(
    """
    policy/policies | refuse* to receive | not welcome | score/scored/scoring | anti~spam*
    spam/junk/unsolicited/phishing/malware/virus/trojan/suspicious/bulk
    content/attachment
    prohibited/prohibition/administrative*
    message/mail/e*mail [data/was/is/has/not/been]* rejected/refused/denied/accepted/blocked
    envelope blocked | security | filter* | restricted/restriction* | members only
    not authorized/authorised
    """
)

POLICY_DESPITE_CODE = compile_phrases(
    """
    policy/policies | spam/junk/unsolicited/phishing/malware/virus/suspicious | reputation
    content rejected/refused/blocked | blocked by/for/due
    """
)
"""Reasons of policy beside an enhanced code for an unknown mailbox."""

# --- last resort ------------------------------------------------------------------------

MAILBOX_WORDS = (
    r"\b(?:users?|recipients?|rcpt|mail ?box(?:es)?|accounts?|address(?:ee|es)?|alias(?:es)?"
    r"|person|customer|subscriber|member|employee|student|e?-?mail(?: ?box)? name|inbox"
    r"|utilisateur|destinataire|empfanger|benutzer|postfach|usuario|destinatario|buzon|casilla"
    r"|utente|indirizzo|casella|gebruiker|ontvanger|uzytkownik|odbiorca|adresat|konto)\b"
)
_LACK_WORDS = (
    r"(?:\b(?:no|not|cannot|never|nobody|none|non|nao|nie|niet|kein\w*|nicht|pas)\b|n't\b)"
    r"(?! (?:be )?(?:allow|permit|accept|authori|welcome|listed|reject|sen[dt]\b))"
    r"|\b(?:un(?:known|able|deliver|rout|resolv|recogni|verif|assign|alloc|regist)\w*|invalid\w*"
    r"|incorrect|wrong|bad|false|erron\w*|err?or|fail(?:ed|s|ure)|missing|absent|nonexist\w*"
    r"|inexist\w*|inconnu\w*|gone|left|former|obsolete|departed|retired|moved)\b"
)
_ABSENT_ALONE = (
    r"\b(?:(?:does|do|did|dos)(?: not|n't|nt| no) exists?|not exists?|no such (?!file)\w+"
    r"|not found|not listed|unknown(?! (?:err|reason|problem|command|host|client))"
    r"|no longer (?:exists|valid|here|an? |employed|with)|in (?:the |our )?(?:name )?directory"
    r"|undeliver\w+|unroute\w+|no existe|nao existe|non esiste|n'existe|existiert nicht"
    r"|nie istnieje"
    r"|nie ma takie\w+|inexist\w+|desconocid\w+|desconhecid\w+|sconosciut\w+|inconnue?s?"
    r"|unbekannt\w*|onbekende?|nieznan\w+)\b"
)
NO_MAILBOX = f"{_ABSENT_ALONE}|^(?=.*{MAILBOX_WORDS})(?=.*(?:{_LACK_WORDS}))"
"""A word for a mailbox and one for its absence anywhere in the reply, or a clear absence alone."""

NOT_THE_MAILBOX = (
    r"\b(?:you|your|yours|we|us|ips?|ip-addr|hosts?|hostname|clients?|servers?|systems?|network"
    r"|connections?|connect|senders?|sender's|sending|originator|from|relay\w*|spam\w*|junk"
    r"|abus\w*|polic\w+|reputation|dns\w*|rbls?|lists?|(?<!not )listed|black\w*|white\w*|content"
    r"|virus|security|filter\w*|messages?|tls|auth\w*|temporar\w*|try|later|rate|limit\w*|many|much"
    r"|https?|size|commands?|syntax|parameters?|country|region|proxy|smtp|helo|ehlo|protocol"
    r"|domain|block\w*|banned|denied|refused|bounces?)\b"
)
"""Words that make it doubtful that a reply is about the mailbox."""
