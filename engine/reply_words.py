"""The word families of SMTP refusals, as regular expressions over folded text.

Folded text (`engine.reply.fold`) is lower case, without accents, addresses or repeated codes,
and with single blanks, so the patterns need only plain letters. Each family is our wording of
what mail servers and providers are known to say; `engine.reply_rules` decides what it means.
"""

from __future__ import annotations


def any_of(*patterns: str) -> str:
    """One pattern that fits where any of `patterns` does."""
    return "(?:" + "|".join(patterns) + ")"


def near(first: str, second: str, gap: int = 40) -> str:
    """`first` followed by `second` in the same clause, at most `gap` characters apart."""
    return rf"{first}[^;]{{0,{gap}}}?{second}"


def either_way(first: str, second: str, gap: int = 40) -> str:
    return any_of(near(first, second, gap), near(second, first, gap))


# --- our own standing -------------------------------------------------------------------

_US = (
    r"(?:your|sending|sender.?s?|source|remote|connecting|connected|client|the|this|origin\w*)"
    r" (?:ip\w*|ip.?addr\w*|server\w*|mail ?server|host\w*|mta|network|system|ptr|range|subnet|"
    r"isp|provider|connection\w*|country|domain)"
)
_HELD = (
    r"(?:black.?list|block|\blisted|\bban(?:ned)?\b|reject|denied|\bdeny|refus|reputation|"
    r"blacklist|not (?:allowed|accepted|permitted|welcome|authori[sz]ed)|abus|spam)"
)

BLOCKED = any_of(
    near(_US, _HELD, 60),
    r"black.?list",
    r"block.?list",
    r"deny.?list",
    r"\bdns.?[bw]l\b",
    r"\brbls?\b",
    r"\b(?:sur|uri|ivm|att)[-_]?[r]?bl\b",
    r"\b[sxpcd]bl\b(?! domain)",
    r"spamhaus",
    r"spam.?cop",
    r"\bsorbs\b",
    r"abuseat|abusix|invaluement|cloudmark|uceprotect|spamrats|mailspike|nixspam|hostkarma",
    r"barracuda ?(?:central|reputation|networks? rep)",
    r"sender ?(?:score|base)",
    r"talosintel|trustedsource|mail-abuse|psbl|backscatterer|spfbl|junkemailfilter"
    r"|truncate\.gbudb",
    r"ipcheck\.proofpoint",
    r"(?:proofpoint|trend ?micro|sophos|cyren|ctipd|symantec|messagelabs)\S* .{0,30}"
    r"(?:block|reputation|list|banned)",
    r"\bclient host\b.{0,60}(?:reject|block|denied|refus)",
    r"banned (?:sender|sending|ip|host|client)",
    r"\b(?:bad|poor|low|negative|no|neutral|suspicious|none/bad) (?:ip |sender |mail |sending )*"
    r"reputation",
    r"\breputation\b",
    r"unusual rate of (?:unsolicited|mail)|unsolicited (?:bulk )?(?:e.?)?mail (?:originating "
    r")?from",
    r"\bs(?:3140|3150|77719)\b|\b(?:sc|dy|ou|rp|co)-00[0-9]\b",
    r"\[(?:tss|bl|ph|ta|gl|ps|cs|hm)\d{1,3}\]",
    r"\b(?:rtr|rly|hvu|con|dyn|rlq|cnt)[:/ ]?[a-z]{0,2}\d{0,3}\b:? ?(?=.{0,40}(?:http"
    r"|postmaster))",
    r"\((?:rtr|rly|hvu|con|dyn|rlq):[a-z0-9]+\)",
    r"\bbl0000\d+",
    r"dynamic(?:ally)?[ /-]{1,3}(?:assigned |allocated |generic |transient )*(?:ip|host|addr"
    r"|pool)",
    r"dial.?up|residential (?:ip|host|addr|range|or dynamic)|\bdul\b|\bend.?user (?:ip"
    r"|machine)|transient ip|broadband|"
    r"zombie|\bbotnet|\bproxy\b|infected|\bvirus.?infected|open relay",
    r"(?:not|n.?t|no longer|never) (?:currently )?(?:accept\w*|allow\w*|permit\w*|tak\w+"
    r"|receiv\w+)"
    r" (?:any |direct |e?mails? |messages? |connections? |traffic |smtp )*(?:from|to connect)"
    r" (?:your|this|that|the|dynamic|servers|hosts|ip|you\b|dial|residential|unknown)",
    r"(?:mail|messages?|connections?|traffic|e-?mail) (?:\w+ ){0,3}from"
    r" (?:your|this|that|the) ?(?:ip\S*|ip.?addr\S*|host|server|network|system|mail server|isp)?"
    r" ?\S{0,40} (?:\w+ ){0,3}(?:block|reject|refus|denied|not accept|not allow|limit"
    r"|weren.?t sent)",
    r"connections? (?:not accepted|refused|rejected|denied|will not be accepted) (?:from|due)",
    r"connections? will not be accepted",
    r"access (?:from|by|for) (?:the |your |this )?(?:ip|host|client|server)",
    r"(?<!not )(?:block|list)ed (?:using|by|at|in|on|for|due|because|from|via|-? ?see)\b",
    r"\b(?:server|host|ip)\b.{0,50}\bis (?:\w+ )?(?:block|bann|black|listed|on our)",
    r"\b\d{1,3}(?:\.\d{1,3}){3}\b.{0,40}\b(?:block|bann|black|reject|refus|denied|listed|"
    r"not allowed(?! to relay))",
    r"lista (?:blanca|negra|nera|bianca)|liste (?:noire|blanche)|schwarze liste",
    r"\bgo away\b|host network",
    r"\b(?:temporarily|permanently|currently|been) block",
    r"(?:messages?|mails?) from \S+ (?:temporarily deferred|permanently deferred"
    r"|will be permanently"
    r"|weren.?t sent)",
    r"weren.?t sent",
    r"temporarily deferred",
    r"no smtp service",
    r"not in (?:our |the |my )?(?:white|allow|safe).?list",
    r"(?:white|allow).?list(?:ed|ing)? (?:required|only)",
    r"\bspamm(?:er|ing)\b|spam source|source of spam|known spam|(?:send(?:s|ing)?"
    r"|sent) (?:us )?spam",
    r"too (?:much|many) (?:spam|junk|abuse)",
    r"\bip\S*(?: addr\w*)? ?\S{0,42} ?(?:is |has |was |been |are )*(?:\w+ )?(?:block|black"
    r"|bann?|list"
    r"|reject|den(?:y|ied)|refus|not allowed|suspended|exceeded|rate limited)",
    r"(?:you|your host|your server) (?:are|is) not (?:allowed|permitted|authori[sz]ed|welcome)"
    r"(?! to relay)",
    r"access denied for (?:your|this|host|ip)",
    r"does not accept e?mail over ipv6",
    # IP refused, in other languages
    r"(?:adresse ip|votre (?:ip|serveur)|ihre ip|ip-?adresse|indirizzo ip|direccion ip"
    r"|endereco ip|"
    r"adres ip).{0,60}(?:bloqu|liste noire|gesperrt|blockiert|geblockt|bloccat|blacklist|bloquead"
    r"|zablokowan|lista negra|refus)",
)

RDNS = any_of(
    r"can.?not (?:find|resolve|get|determine|verify) your (?:reverse )?(?:host ?name|address"
    r"|ip|name)",
    r"(?:can.?t|unable to) (?:find|resolve|verify) your (?:reverse )?(?:host ?name|address|ip"
    r"|name)",
    r"reverse[ -]?(?:dns|host ?name|name|look ?up|mapping|record|ip|resol\w+|entry|path dns)",
    r"\brdns\b",
    r"\bptr\b",
    r"in-addr",
    r"(?:no|missing|invalid|without|lacks?|generic) (?:a |valid |matching |proper )*(?:reverse"
    r"|ptr|rdns)",
    r"(?:client|connecting|sending|remote) (?:ip\S*|host\w*) .{0,30}(?:does not|doesn.?t|cannot) "
    r"(?:\w+ )?resolve",
    r"ip name lookup failed",
    r"servers? without (?:a )?valid sender domain",
    r"resolution inverse|dns inverse|enregistrement ptr|rueckwaerts|reverse-?lookup"
    r"|risoluzione inversa",
)

SENDER_AUTH = any_of(
    r"\bspf\b",
    r"sender policy framework|openspf|sender[ -]id\b",
    r"\bdkim\b|domain ?keys?\b",
    r"\bdmarc\b",
    r"unauthenticated (?:e?mail|sender|message)",
    r"(?:email|message|sender|mail) (?:is |was )?not authenticated",
    r"anti.?spoof|spoof(?:ed|ing)|forged (?:sender|mail|from)",
)

_SENDER = (
    r"(?:\bsenders?\b(?:'s)?(?: e?-?mail)?(?: addr?ess| domain| host)?|envelope[ -](?:sender"
    r"|from)|"
    r"mail from\b|return.?path|from (?:address|domain)|reverse.?path|sending domain|\bmfrom\b|"
    r"originator|expediteur|absender\w*|mittente|remitente|remetente|afzender|nadawc\w+)"
)
_REFUSED = (
    r"(?:reject|den(?:y|ied)|refus|invalid|block|bann|not (?:allowed|found|known|accept|exist"
    r"|valid|"
    r"permitted|authori|resolv|our|listed|a valid)|unknown|verif|callout|call.?back|does ?n.?t|"
    r"does not|has no|bad\b|unacceptable|forged|fail|disallow|prohibit|not logged in|not owned|"
    r"mismatch|unrout|\brefus|rifiut|inconnu|unbekannt|malformed|syntax|null|no valid|no mx|"
    r"unresolv|not resolv|is not|must)"
)
SENDER = any_of(
    near(_SENDER, _REFUSED, 60),
    near(
        r"(?:invalid|bad|unknown|unverified|unresolvable|rejected|refused|null|empty|banned"
        r"|blocked|"
        r"forged|malformed|no such|verify|verif\w+|unroutable|unrouteable) (?:the |your "
        r"|envelope |"
        r"mx for )*",
        r"(?:sender|mail from|return.?path|envelope.from|from address|reverse.?path)",
        12,
    ),
    r"domain (?:of|for) (?:the |your )?sender",
    r"(?:sender|sending|from).{0,20}domain.{0,40}(?:exist|resolv|found|invalid|mx|record)",
    r"bad ?mail ?from|badmailfrom",
    r"call.?(?:out|back|ahead)",
    r"\bnull (?:sender|return|reverse|envelope|<>)|empty (?:sender|return|envelope|from|reverse)",
    r"bounce (?:messages? )?(?:not|are not|is not) (?:accept|allow)|"
    r"(?:no|not accept\w*|reject\w*) (?:bounces|null)",
    r"verify (?:the |your )?sender|sender.?verif",
)

HELO = any_of(
    r"\b(?:helo|ehlo)(?: command|/ehlo|/helo| name| argument| host ?name| host| string| greeting"
    r"| domain| parameter| value|-name)?s?(?!=).{0,50}"
    r"(?:reject|invalid|bad|not |denied|refus|fail|mismatch|wrong|need|must|does|unknown|forg"
    r"|fake|"
    r"unacceptable|imperson|syntax|resolv|illegal|block|bann|malformed|should|violat|polic)",
    r"(?:invalid|bad|bogus|forged|fake|wrong|illegal|malformed|rejected|unacceptable"
    r"|unresolvable|"
    r"inconsistent|your|suspicious|missing) (?:\w+ )?(?:helo|ehlo)\b(?!=)(?!.{0,4}first)",
    r"need fully.?qualified hostname",
    r"bad ?helo",
)

TLS = any_of(
    r"starttls (?:command )?(?:first|is required|required|needed)",
    r"(?:must|need to|have to|please) (?:\w+ )?(?:issue|use|start|send)? ?(?:a "
    r"|the )?(?:starttls|tls\b|"
    r"ssl|encrypt)",
    r"(?:tls|ssl|encryption|encrypted (?:connection|session|channel)) (?:is )?(?:required|needed|"
    r"mandatory|enforced)",
    r"(?:requires?|requiring|only accepts?) (?:\w+ ){0,3}(?:starttls|\btls\b|encrypt)",
    r"(?:session|connection|message|mail)s? (?:is |was )?(?:not encrypted|unencrypted"
    r"|in plaintext)",
)

AUTH = any_of(
    r"authenti(?:cation|fication) (?:is )?(?:required|needed|necessary|requise|erforderlich)",
    r"(?:must|need to|have to|please|requires?|required|should) (?:\w+ ){0,3}(?:authenticat\w*|"
    r"log ?in|smtp.?auth)",
    r"(?:client|user|you|session)(?: was| is| are)? not (?:authenticated|logged in)",
    r"not authenticated|only authenticated|authenticated (?:users|senders|clients) only",
    r"must have an account",
    r"auth(?:entication)? (?:first|required)",
    r"smtp.?auth",
    r"no auth(?:entication)?\b",
)

# --- the mailbox ------------------------------------------------------------------------

_WHO = (
    r"\b(?:users?|recipients?|rcpts?|mail.?box(?:es)?|accounts?|addressee|address(?:es)?"
    r"|alias(?:es)?|"
    r"login|person|people|subscriber|customer|member|local.?part|user ?names?|user.?id|e-?mails?|"
    r"in.?box|destination|employee|maildrop|receiver|forward-path|forward path|students?)\b"
)
_ABSENT = any_of(
    r"\bunknown|not known|never heard|never existed|unallocated|fictitious",
    r"(?:un|not )recogni[sz]ed",
    r"\bd(?:o|oes|os|ose|id)(?: ?n[o']?t| not|nt)(?: currently| seem to| appear to)?"
    r" (?:exist|match|live|belong|reside|have a)",
    r"\bnot? (?:longer )?exist\w*|(?:non|in).?exist\w*",
    r"no longer (?:exists?|valid|here|on (?:this |our )?server|available|with|works|at)\b",
    r"not (?:be )?(?:found|located|identified|matched)",
    r"no (?:such|matching|valid|known|mailbox|record|account|user|entry)",
    r"(?:can ?no|can.?|unable )to? ?(?:be )?(?:find|found|locate|recogni[sz]e|identif)",
    r"(?:is ?n.?t|not)(?: an?| the| our)? (?:valid|listed|local|registered|recogni[sz]ed|our"
    r"|here|on"
    r" file|on this|on our|in (?:our|my|the|this|local|directory|system)|hosted|present"
    r"|defined|known"
    r"|user|existing|associated|assigned|handled|served|deliverable|configured|part of|one of)\b",
    r"\binvalid|\bbad\b|\bwrong|\billegal|undeliverable|unroute?able|misspel|mistyped|nosuchuser",
)
NOT_FOUND = any_of(
    either_way(_WHO, _ABSENT, 45),
    r"no such (?:\w+ )?(?:user|recipient|mail.?box|person|account|address|addressee|customer"
    r"|alias|"
    r"name|local|id|here|in)",
    r"no (?:\w+ )?(?:mail.?box|account|users?|recipients?|one|person|body"
    r"|address) (?:\w+ )?(?:here|by|"
    r"with|of|matching|named|found|exists?|at this|for|of that|on file)",
    r"no local (?:mail.?box|user)",
    r"unrouteable|unroutable address|unknown local",
    r"does ?n.?t have (?:a|an) \S+ account|does not have (?:a|an) \S+ account",
    r"not (?:our|a|a known|a valid|an existing) (?:customer|user|subscriber|recipient|mail.?box|"
    r"account|address|local)",
    r"never heard of|no body by that name|nobody (?:here )?by that name",
    r"bad ?rcpt ?to|valid ?rcpt ?to",
    r"recip(?:ient)?(?: address)?.?not.?found|nosuchuser"
    r"|resolver\.adr\.(?:recipient)?recip\w*notfound|"
    r"user_?unknown|unknown_?user|recipnotfound",
    r"mailbox not (?:found|exist)",
    r"mailing list expansion problem",
    r"delivery (?:to|for) (?:this|that|the) (?:user|recipient|address|mailbox) is not possible",
    r"(?:unknown|invalid) (?:to )?(?:address|recipient|user|account|mail)",
    r"could not (?:be delivered to|find) (?:the |this |that )?(?:recipient|mailbox|user|address)",
    r"(?:is not|isn.?t) (?:a |an )?(?:valid|known|existing|active|recogni[sz]ed)? ?(?:mail.?box|"
    r"recipient|user|account|e-?mail)",
    r"extended mail system",
    r"cuda_nsu",
    r"no tiene (?:una )?cuenta",
    # French
    r"(?:utilisateur|destinataire|adresse|compte|boite|bal|abonne|mail)\b.{0,50}(?:inconnu"
    r"|inexist|"
    r"n.?existe|introuvable|invalide|non trouve|incorrect|erron|pas valide|non valide)",
    r"(?:inconnu|inexistant|invalide|aucun)e?s? .{0,20}(?:utilisateur|destinataire|adresse"
    r"|compte|boite)",
    # German
    r"(?:empf(?:a|ae)nger|benutzer|adresse|postfach|konto|mailbox|teilnehmer|account|nutzer)\w*\b"
    r".{0,50}(?:unbekannt|existiert|nicht (?:gefunden|bekannt|vorhanden|verfugbar|verfuegbar"
    r"|gultig|"
    r"gueltig|eingerichtet)|ungultig|ungueltig|gibt es nicht)",
    r"(?:unbekannte[rsn]?|ungultige[rsn]?|ungueltige[rsn]?|kein(?:e|en)?) .{0,20}(?:empf(?:a"
    r"|ae)nger|"
    r"benutzer|adresse|postfach|konto|mailbox|nutzer)",
    # Spanish and Portuguese
    r"(?:usuario|destinatario|direccion|endereco|cuenta|conta|buzon|casilla|caixa|correo"
    r"|utilizador|"
    r"e-?mail)\b.{0,50}(?:desconocid|desconhecid|no exist|nao exist|inexist|no encontrad"
    r"|nao encontrad|"
    r"no valid|invalid|incorrect|nao e valid|no se encuentra)",
    r"(?:no existe|nao existe|desconocido|desconhecido|invalido) .{0,30}(?:usuario"
    r"|destinatario|cuenta|"
    r"conta|buzon|caixa|direccion|endereco|utilizador|correo)",
    # Italian
    r"(?:utente|destinatario|indirizzo|casella|account|mailbox)\b.{0,50}(?:sconosciut"
    r"|inesistente|"
    r"non esiste|non trovat|non valid|non e valid|invalid|non presente|errat)",
    r"(?:nessun[ao]?|sconosciut[oa]|inesistente) .{0,20}(?:utente|casella|destinatario"
    r"|indirizzo)",
    # Dutch
    r"(?:gebruiker|ontvanger|adres|postbus|postvak|mailbox|geadresseerde)\b.{0,50}(?:onbekend"
    r"|bestaat "
    r"niet|niet gevonden|niet bekend|ongeldig)",
    r"(?:onbekende|ongeldige?|geen) .{0,20}(?:gebruiker|ontvanger|adres|postbus|postvak|mailbox)",
    # Polish and Czech
    r"(?:uzytkownik|odbiorc|adres|skrzynk|kont)\w*\b.{0,50}(?:nieznan|nie istniej|nie znalezion|"
    r"nieprawidlow|niepoprawn|nie ma)",
    r"(?:nieznany|nie ma takie\w+|nie istnieje|nieprawidlowy|brak) .{0,20}(?:uzytkownik"
    r"|odbiorc|adres|"
    r"skrzynk|kont)",
    r"(?:uzivatel|prijemce|schranka|adresa)\w*\b.{0,40}(?:neexist|neznam|nenalezen)",
    # Scandinavian, Turkish
    r"(?:mottagare|mottaker|modtager|anvandare|bruker|bruger|adressen"
    r"|brevlada)\w*\b.{0,40}(?:okand|"
    r"ukjent|ukendt|finns (?:inte|ej)|finnes ikke|findes ikke|saknas)",
    r"(?:okand|ukjent|ukendt) (?:mottagare|mottaker|modtager|anvandare|bruker|bruger|adress)",
    r"(?:kullanici|alici|adres|hesap|posta kutusu)\w*\b.{0,40}(?:bulunamadi|bilinmiyor"
    r"|gecersiz|yok\b)",
    # Russian and Ukrainian, Chinese, Japanese
    r"(?:пользовател|получател|ящик|адрес|користувач)\w*.{0,40}(?:не найден|не существу|неизвест|"
    r"не знайден|не исну|отсутству|невер|недейств)",
    r"(?:нет такого|неизвестный|несуществующ\w+) .{0,20}(?:пользовател|получател|ящик|адрес)",
    r"(?:用户|用戶|收件人|邮箱|郵箱|信箱|帐号|账号|地址).{0,10}(?:不存在|未找到|无效|無效|错误)",
    r"(?:不存在|无效).{0,6}(?:用户|用戶|收件人|邮箱|信箱|地址)",
    r"(?:ユーザ|宛先|メールアドレス|受信者).{0,12}(?:不明|存在しま|見つかりま|無効|ありません)",
)

UNAVAILABLE = any_of(
    r"mail.?box (?:is |currently |name |for \S+ |requested )*(?:un|not )available",
    r"mailbox name not allowed",
    r"(?:user|recipient|account|address) (?:is |was )?(?:un|not )available",
    r"(?:user|recipient|mailbox)\S* (?:can.?t|can ?not|unable to) (?:be )?(?:deliver|receiv"
    r"|accept)\w*",
    r"not deliverable|undeliverable",
    r"(?:does not|doesn.?t|can.?t|can ?not) (?:accept|receive) (?:any )?(?:e-?mails?|messages)"
    r"(?! from| over)",
)

_GONE = (
    r"(?:disabled|suspend\w*|de.?activated|in.?active|not active(?:ated)?|locked|discontinued|"
    r"terminated|closed|cancell?ed|expired|frozen|archiv\w+|retired|removed|deleted"
    r"|disconnected"
    r"|inactivity|no longer (?:active|in use|in service|accept\w*|receiv\w*|used|monitored"
    r"|employed|"
    r"works?|valid|available)|abandoned|dormant|decommissioned|on hold|barred|unsubscribed|"
    r"disactivated|not enabled|not been activated|unactivated)"
)
DISABLED = any_of(
    near(
        r"\b(?:users?|recipient(?: address)?|mail.?box(?:es)?|e?mail account|account"
        r"|(?:e-?)?mail "
        r"address|this address|alias|in.?box|login|customer|subscriber|employee)\b",
        rf"\b{_GONE}",
        50,
    ),
    near(
        r"\b(?:disabled|suspended|deactivated|inactive|locked|closed|discontinued|expired"
        r"|terminated)",
        r"\b(?:user|recipient|mail.?box|account|inbox)\b",
        12,
    ),
    r"no longer (?:accept|receiv)\w* (?:e?-?mails?|messages|mail)\b(?! from)",
    r"\[suspend\]|user.?disabled|account.?disabled|mailbox.?disabled|mbx.?disabled",
    r"\bterminated\b",
    r"(?:boite|compte|bal|adresse)\b.{0,40}(?:desactive|suspend|archiv|bloque|ferme|inacti"
    r"|resili)",
    r"(?:postfach|konto|mailbox|benutzer|account|empf(?:a|ae)nger)\w*\b.{0,40}(?:deaktiviert"
    r"|gesperrt|"
    r"geschlossen|stillgelegt|inaktiv|gekundigt|gekuendigt)",
    r"(?:cuenta|buzon|conta|caixa|usuario)\b.{0,40}(?:desactivad|deshabilitad|suspendid|suspens|"
    r"desativad|bloquead|inactiv|inativ|cancelad|cerrad|encerrad)",
    r"(?:casella|account|utente|mailbox)\b.{0,40}(?:disabilitat|disattivat|sospes|bloccat|chius|"
    r"inattiv|non attiv|scadut)",
    r"(?:account|postvak|mailbox|gebruiker)\b.{0,40}(?:geblokkeerd|uitgeschakeld|opgeheven"
    r"|gesloten|"
    r"gedeactiveerd|niet actief|inactief)",
    r"(?:konto|skrzynk|uzytkownik)\w*\b.{0,40}(?:zablokowan|nieaktywn|wylaczon|zawieszon"
    r"|zamkniet)",
    r"(?:ящик|аккаунт|пользовател|учетн\w+ запис)\w*.{0,40}(?:заблокирован|отключ|удал|неактив)",
    r"(?:用户|帐号|账号|邮箱|信箱).{0,8}(?:停用|禁用|冻结|锁定|注销|暂停)",
)

_BOX = (
    r"(?:mail.?box|in.?box|mail.?folder|maildir|account|user|recipient|quota|disk|storage|"
    r"mail ?store|box|mail.?drop|home ?dir\w*)"
)
FULL = any_of(
    rf"{_BOX}\S*.{{0,40}}\b(?:is |are |was |too |almost |currently )*full\b",
    r"\bfull (?:mail.?box|inbox|mailbox)",
    r"over.?quota|quota (?:is |was |has been |limit |would be |usage |will be )*(?:full|exceeded|"
    r"reached|violat\w*|exhausted|overflow|overrun)",
    r"(?:exceed|over|above|beyond|surpass|reached)\w* (?:of |the |its |his |their |allowed "
    r"|allotted |"
    r"allocated |maximum |mail |user |storage |mailbox |disk |space |hard |soft |size |message |"
    r"account |permitted |of |your )*(?:quota|(?:storage|mailbox|disk|space)(?: size| space)?"
    r"(?: limit| allocation| quota)?|allocation)",
    r"out of (?:\w+ )?(?:storage|disk|space|quota|room)",
    r"exhausted (?:\w+ ){0,2}(?:storage|space|quota)",
    r"(?:insufficient|not enough|no|lack of|low on) (?:free |more |mail |mailbox |disk "
    r"|storage |user |"
    r"available |remaining )*(?:space|storage|room|quota)(?! on (?:the )?(?:server|system"
    r"|device))",
    r"no space left",
    r"mail.?box (?:size|storage|quota) (?:limit|exceed|quota)|mailbox (?:has )?(?:exceed"
    r"|overflow)\w*",
    r"storage (?:limit|quota|allocation)",
    r"disk.?quota|user quota|account quota|mailbox quota",
    r"would exceed",
    r"(?:boite|bal|messagerie|quota|espace)\b.{0,50}(?:plein|satur|depasse|insuffisant)"
    r"|hors quota",
    r"(?:postfach|speicher\w*|kontingent|quota|mailbox)\b.{0,40}(?:voll\b|uberschritten"
    r"|ueberschritten|"
    r"erschopft|erschoepft|belegt)",
    r"(?:buzon|casilla|cuota|cuenta|bandeja|correo)\b.{0,50}(?:llen[oa]|excedid|superad"
    r"|sin espacio|"
    r"sobrepas)|espacio insuficiente",
    r"(?:caixa|quota|cota|conta)\b.{0,50}(?:chei[ao]|excedid|ultrapassad|lotad)|sem espaco",
    r"(?:casella|quota|mailbox|spazio)\b.{0,40}(?:pien[ao]|superat|esaurit|ecceduta)",
    r"(?:postvak|mailbox|postbus|quotum?|schijfruimte)\b.{0,40}(?:\bvol\b|overschreden"
    r"|onvoldoende)",
    r"(?:skrzynk|limit|konto|quota)\w*\b.{0,40}(?:pelna|przepelnion|przekroczon|zapelnion"
    r"|brak miejsca)",
    r"schrank\w+.{0,40}(?:plna|preplnen)|kutusu dolu|postlad.{0,20}full",
    r"(?:ящик|скриньк)\w*.{0,30}(?:переполнен|полон|заполнен)|квота",
    r"(?:邮箱|信箱|郵箱|空间|空間).{0,8}(?:已满|满|滿|不足|超限)|メールボックス.{0,12}(?:一杯|いっぱい|容量)",
)

NOT_A_FULL_MAILBOX = any_of(
    r"system storage|insufficient system|spool|server.{0,20}(?:disk|storage)",
    r"(?:sending|send|outgoing|outbound|daily|hourly|sender|submission|message rate|email"
    r"|messages?|"
    r"connection|recipient|rate|per (?:day|hour|minute)) (?:quota|limit)",
    r"message (?:size|length|too)|size (?:of the message )?exceed|too (?:large|big)"
    r"|maximum message size",
    r"exceeded.{0,20}(?:rate|connection|number of|messages|per)",
)
"""Words of size, speed and our own allowance, which sound like a full mailbox and are not."""

RATE = any_of(
    near(r"(?:recipient|user|mailbox|account|contact\w*)", r"receiving (?:e?mails?|messages?)", 40)
    + r".{0,40}(?:too|rate|quickly|fast)",
    r"receiving (?:e?mail|messages?) (?:too quickly|at a rate|too fast)",
    r"(?:recipient|user|mailbox)\S*.{0,30}exceeded.{0,30}(?:message|receive|receiving|mail"
    r"|incoming)"
    r".{0,12}(?:rate|limit)",
    r"(?:receive|receiving|inbound) (?:rate|limit)|rate that prevents",
    r"user is receiving",
    r"(?:too many|too much) (?:mail|messages?|emails?) (?:for|to) (?:this|that|the) (?:user"
    r"|recipient|"
    r"mailbox|address)",
)

# --- not now ----------------------------------------------------------------------------

GREYLIST = any_of(
    r"gr[ea]y.?list",
    r"gr[ea]ylst|graylisted|postgrey|milter-grey",
    r"come back",
    r"(?:try|retry) (?:it |again |later |delivery |your message |sending )*(?:in|after|within) "
    r"(?:\w+ ){0,2}(?:\d|a few|few|some|one|five|ten)",
    r"(?:wait|delay\w*) (?:\w+ ){0,3}\d+ ?(?:sec|min|hour|s\b|m\b)",
    r"\bretry (?:in )?\d+|\d+ ?(?:seconds?|secs?|minutes?|mins?) (?:remaining|left|to go|until)",
    r"not yet authori[sz]ed to deliver|first (?:time|contact|seen)|triplet|unseen (?:sender"
    r"|triplet)",
    r"verification (?:is )?in progress",
    r"\bnot now\b.*\bagain\b",
    r"temporar\w+ (?:rejected|refused|deferred) (?:for|as|because|to) (?:\w+ )?(?:new|unknown"
    r"|first)",
    r"liste grise|lista gris|lista grigia|szar\w+ list",
)

THROTTLE = any_of(
    r"too (?:many|much|fast|frequent\w*|quick\w*) ?(?:\w+ ){0,2}(?:connect|session|message"
    r"|recipient|"
    r"mail|command|error|request|concurrent|simultaneous|parallel|attempt|unknown|invalid|bad"
    r"|rcpt|"
    r"hop|traffic|load|transaction|user|email|thread)\w*",
    r"(?:rate|connection|message|session|frequency|speed|throughput|sending)\w*.{0,12}(?:limit"
    r"|exceed|"
    r"throttl|restrict)\w*",
    r"(?:limit|exceed)\w* .{0,40}(?:rate|connections?|sessions?|messages|recipients"
    r"|per (?:hour|minute|"
    r"day|second))",
    r"throttl|slow (?:it )?down|ratelimit|rate.?limit|frequency limit",
    r"(?:server|system|service|host|ports?|we are|i.?m|resources?)\b.{0,30}\b(?:too "
    r"|very )?(?:busy|"
    r"overload\w*|high load|load too high|exhausted)",
    r"load (?:average )?(?:is )?too high|server load",
    r"no more (?:connections|recipients)|max(?:imum)? (?:number of )?(?:concurrent "
    r"|smtp )?(?:connection|"
    r"recipient|session|rcpt)\w*",
    r"trop de (?:connexions|messages|destinataires)|demasiad\w+ (?:conexion|mensaje)|zu viele"
    r"|troppe "
    r"connessioni|muitas conexoes|te veel verbindingen|zbyt wiele",
)

RELAY = any_of(
    r"relaying to prohibited",
    r"(?:account|permission|authori[sz]ation|authenticat\w+) .{0,30}to relay",
    r"relay(?:ing)?(?: access| mail| of mail| to \S+| this domain)?,? ?(?:is |was |attempt "
    r"|has been )*"
    r"(?:denied|not (?:permitted|allowed|authori[sz]ed|enabled|supported|available)"
    r"|prohibit\w*|refus\w*"
    r"|reject\w*|disabled|forbidden|blocked|not here)",
    r"(?:unable|not (?:allowed|permitted|authori[sz]ed)|can ?not|cannot|can.?t|do ?n.?t|do not"
    r"|does not|"
    r"won.?t|will not|refuse to|no|never|not) (?:\w+ )?relay",
    r"open relay (?:not|is)|mail relay denied|denied relay|relay(?:ing)?[:.] ?denied",
    r"rcpt ?hosts",
    r"tenant ?attribution",
    r"(?:not|n.?t) (?:a |an |in |one of |my |our |the |responsible for |list of |hosting "
    r"|handle |accept "
    r"|serv\w+ |handling |accepting |mail |for |this |that |such |known |recogni[sz]ed "
    r"|allowed |local )+"
    r"domain",
    r"domain (?:\S+ )?(?:is |does |was |name )?(?:not (?:hosted|local|served|handled|accept\w*"
    r"|exist|"
    r"found|valid|known|allowed|recogni[sz]ed|configured|in |supported|here|managed|our)"
    r"|unknown|invalid|"
    r"disabled|suspended|expired|lookup failed|isn.?t (?:in|hosted|local|handled|accept))",
    r"(?:unknown|invalid|no such|bad|non.?local|unrouteable|unroutable"
    r"|wrong) (?:mail )?(?:domain|host)\b",
    r"(?:host|domain|dns)\S* (?:name )?(?:not found|unknown|lookup fail\w*)"
    r"|no route to (?:host|domain)",
    r"no (?:valid )?(?:mx|mail ?server|a record).{0,20}(?:for|found)|recipient domain",
    r"null ?mx",
    r"not (?:the |an? )?(?:mx|mail exchanger|relay) for",
    r"relais|relayage|weiterleit\w+ (?:nicht|verweigert)|retransmision",
)

SMTPUTF8 = any_of(r"smtputf8", r"non.?ascii", r"internationali[sz]ed (?:e?mail|addr)", r"\beai\b")

POLICY = any_of(
    r"polic(?:y|ies)",
    r"\bspam|\bjunk|\bbulk (?:e?mail|message)|unsolicited|phish|malware|\bvirus|trojan"
    r"|suspicious",
    r"content|attachment|subject|header",
    r"prohibit\w*|administrativ\w+",
    r"(?:message|e?mail|mail) (?:was |is |has been |not |been |content |cannot be "
    r"|could not be )*"
    r"(?:reject\w*|refus\w*|denied|not accepted|blocked|accepted)",
    r"envelope blocked|security|filter\w*|restrict\w*|not allowed to send"
    r"|not authori[sz]ed to send",
    r"delivery not authori[sz]ed|permission to (?:send|submit)|members? only|moderated",
)
