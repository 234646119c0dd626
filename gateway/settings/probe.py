"""The settings of the local probe and its ways out."""

from __future__ import annotations

from engine.smtp.terms import EgressStrategy
from gateway.settings.section import Section, setting
from gateway.settings.values import (
    DnsServerAddress,
    HeloName,
    Operator,
    OptionalHeloName,
    OptionalIp,
    Seconds,
    SenderAddress,
    SocksUrl,
)


class EngineSettings(Section):
    """The local probe: how it queries DNS and mail servers."""

    helo: HeloName = setting(
        "localhost",
        "Host name sent in EHLO and HELO; it should resolve to this machine's public address.",
    )
    mail_from: SenderAddress = setting(
        "", "Address sent in MAIL FROM; empty is the null sender `<>`."
    )
    dns_servers: tuple[DnsServerAddress, ...] = setting(
        (), "Resolvers as `IP:PORT`, tried in order; empty uses those of the system."
    )
    smtp_port: int = setting(25, "Port of the mail servers.", ge=1, le=65535)
    allow_private_networks: bool = setting(
        False,
        "Whether probes and webhooks may connect to private, loopback and link-local addresses.",
    )
    connect_timeout_s: Seconds = setting(5.0, "Time limit for one TCP connection.", "s")
    command_timeout_s: Seconds = setting(
        10.0, "Time limit for one SMTP command or one DNS query.", "s"
    )
    deadline_s: Seconds = setting(
        30.0, "Time limit for one verification, all attempts together.", "s"
    )
    connections_per_host: int = setting(
        4, "Concurrent connections to the mail hosts of one operator.", ge=1, le=1000
    )
    egress: str = setting(
        "default",
        "Name of the way out if there is no `[[egress]]`: of the public address that mail servers"
        " see. Processes with the same name share its pace.",
        pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$",
    )
    egress_strategy: EgressStrategy = setting(
        EgressStrategy.WEIGHTED,
        "How one of several `[[egress]]` is chosen. `weighted`: by weight, the same one for an"
        " address each time. `failover`: the first one that works and is not refused.",
    )
    recipients_per_connection: int = setting(
        100, "RCPT commands on one connection before a new one is opened.", ge=1, le=100_000
    )
    greylist_retries_s: tuple[Seconds, ...] = setting(
        (5.0, 60.0, 300.0),
        "Pauses before the retries of an address of a batch that its mail hosts refuse for now: "
        "greylisted, busy, or down. A single verification waits for greylisting only, and "
        "within its deadline.",
        "s",
    )


class EgressSettings(Section):
    """A way out to mail servers: an address of this machine, or a proxy."""

    name: str = setting(
        ...,
        "Name in the evidence, the metrics and `/veriplex/v1/standing`.",
        pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$",
    )
    source_address: OptionalIp = setting(
        "",
        "IP address of this machine that connections come from; empty is the system's choice.",
    )
    proxy: SocksUrl = setting(
        "",
        "SOCKS5 proxy, `socks5://host:port` or `socks5://user:password@host:port`; or `env:NAME`,"
        " `file:PATH`. It is given IP addresses only.",
    )
    public_address: OptionalIp = setting(
        "",
        "IP address that mail servers see, for `veriplex doctor`, if it cannot be detected.",
    )
    helo: OptionalHeloName = setting("", "Host name in EHLO; empty is `engine.helo`.")
    mail_from: SenderAddress = setting("", "Address in MAIL FROM; empty is `engine.mail_from`.")
    weight: float = setting(
        1.0, "Share of the addresses, relative to the others' weights.", ge=0, le=1_000_000
    )
    operators: tuple[Operator, ...] = setting(
        (),
        "Operators of mail hosts, as `/veriplex/v1/standing` names them, that it serves; empty is"
        " all of them.",
    )
    except_operators: tuple[Operator, ...] = setting((), "Operators that it does not serve.")
    connections_per_host: int = setting(
        0,
        "Concurrent connections to the mail hosts of one operator; 0 is"
        " `engine.connections_per_host`.",
        ge=0,
        le=1000,
    )
