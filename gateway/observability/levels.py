"""Which log lines of the process are written at all.

Apart from `gateway.observability.logs`, which says how, since that takes longer to import than
the sandbox has.
"""

from __future__ import annotations

import logging

from gateway.settings.model import LogSettings

QUIET_LOGGERS = ("uvicorn", "asyncio", "aiosqlite", "alembic")
"""Loggers whose news is none below WARNING."""


def set_levels(log: LogSettings) -> None:
    """Let through what the settings want to see."""
    root = logging.getLogger()
    root.setLevel(log.level.upper())
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
