"""The settings: one frozen object, read once at start from `veriplex.toml` and the environment.

The file is the one named by `--config`, else by `VERIPLEX_CONFIG`, else `./veriplex.toml` if it
exists. `VERIPLEX_SECTION__NAME` overrides a setting. `docs/settings.md` lists all settings.
"""

from gateway.errors import LOCAL_SOURCE
from gateway.settings.dialects import configured_dialects
from gateway.settings.load import load
from gateway.settings.model import Settings
from gateway.settings.problems import SettingProblem, SettingsError
from gateway.settings.proxies import environment_proxies
from gateway.settings.secrets import secrets_in, url_secrets
from gateway.settings.sources import (
    Completion,
    RouteSettings,
    RoutingSettings,
    Strategy,
    UpstreamSettings,
)
from gateway.settings.values import Secret, read_secret_file

__all__ = [
    "LOCAL_SOURCE",
    "Completion",
    "RouteSettings",
    "RoutingSettings",
    "Secret",
    "SettingProblem",
    "Settings",
    "SettingsError",
    "Strategy",
    "UpstreamSettings",
    "configured_dialects",
    "environment_proxies",
    "load",
    "read_secret_file",
    "secrets_in",
    "url_secrets",
]
