"""The levels of the process's loggers.

`gateway.observability.logs` formats the lines. It is a module of its own because importing it takes
longer than a sandbox may take to start.
"""

from __future__ import annotations

import logging

from gateway.settings.server import LogSettings

OWN_LOGGERS = ("gateway", "engine", "adapters", "veriplex")
QUIET_LOGGERS = ("procrastinate", "psycopg.pool")
"""They log each attempt to reach a database that is away; `gateway.cluster.dispatch` logs what
comes of it."""


def set_levels(log: LogSettings) -> None:
    """Apply `log.level` to our own loggers; libraries log from WARNING on.

    HTTP clients log whole URLs at INFO, and a webhook's URL may hold a password.
    """
    level = logging.getLevelNamesMapping()[log.level.upper()]
    logging.getLogger().setLevel(max(level, logging.WARNING))
    for name in OWN_LOGGERS:
        logging.getLogger(name).setLevel(level)
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
