"""The probe engine's configuration, from the settings of `[engine]` and `[[egress]]`."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from engine.smtp.terms import DEFAULT_EGRESS, EgressConfig, Identity, SocksProxy
from gateway.settings.model import Settings
from gateway.settings.probe import EgressSettings, EngineSettings
from gateway.settings.problems import suggestion

if TYPE_CHECKING:
    from engine.probe import ProbeConfig

DEFAULT_SOCKS_PORT = 1080
"""IANA's registered port for SOCKS."""


class UnknownEgress(ValueError):
    """No egress has the name."""


def probe_config(settings: Settings, *, only: str = "") -> ProbeConfig:
    """The configuration of a probe engine.

    `only` is the name of the one egress to use, for all operators. Raises UnknownEgress.
    """
    # imported here, since it takes a while, and not every command probes
    from engine.probe import ProbeConfig

    names = {field.name for field in fields(ProbeConfig)}
    config = ProbeConfig(
        **settings.engine.model_dump(include=names), egresses=tuple(egress_configs(settings))
    )
    if not only:
        return config
    named = {egress.name: egress for egress in config.effective_egresses}
    if only not in named:
        known = f"{suggestion(only, named)}; known: {', '.join(named)}"
        raise UnknownEgress(f"no egress is named {only!r}{known}")
    pinned = replace(named[only], operators=frozenset(), except_operators=frozenset())
    return replace(config, egresses=(pinned,))


def egress_configs(settings: Settings) -> list[EgressConfig]:
    """The egresses that are configured; none is the default one."""
    configured = settings.egress
    if not configured and settings.engine.egress != DEFAULT_EGRESS:
        configured = (EgressSettings(name=settings.engine.egress),)
    return [_egress_config(egress, settings.engine) for egress in configured]


def _egress_config(egress: EgressSettings, engine: EngineSettings) -> EgressConfig:
    return EgressConfig(
        identity=Identity(egress.helo or engine.helo, egress.mail_from or engine.mail_from),
        name=egress.name,
        source_address=egress.source_address,
        proxy=_socks_proxy(egress.proxy) if egress.proxy else None,
        weight=egress.weight,
        operators=frozenset(egress.operators),
        except_operators=frozenset(egress.except_operators),
        connections_per_host=egress.connections_per_host or engine.connections_per_host,
    )


def _socks_proxy(url: str) -> SocksProxy:
    parts = urlsplit(url)
    if parts.hostname is None:
        raise ValueError("the settings were loaded without the secrets that the probe needs")
    return SocksProxy(
        parts.hostname,
        parts.port or DEFAULT_SOCKS_PORT,
        unquote(parts.username or ""),
        unquote(parts.password or ""),
    )
