"""Which log lines of the process are written at all.

Apart from `gateway.observability.logs`, which says how, since that takes longer to import than
the sandbox has.
"""

from __future__ import annotations

import logging

from gateway.settings.model import LogSettings

OWN_LOGGERS = ("gateway", "engine", "adapters", "veriplex")


def set_levels(log: LogSettings) -> None:
    """Write our own lines from the level of the settings on, those of libraries from WARNING on.

    HTTP clients log whole URLs at INFO, and a webhook's URL may hold a password.
    """
    level = logging.getLevelNamesMapping()[log.level.upper()]
    logging.getLogger().setLevel(max(level, logging.WARNING))
    for name in OWN_LOGGERS:
        logging.getLogger(name).setLevel(level)
