"""Migrations of older tables. The only module that imports Alembic; imported when needed."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from gateway.store.errors import StoreTooNew


def upgrade(
    connection: Connection, where: str, revision: str | None, *, target: str = "head"
) -> None:
    """Run all migrations after `revision` up to `target` in the connection's transaction.

    Raises StoreTooNew for an unknown revision.
    """
    config = Config()
    # Alembic interpolates the value, so a percent sign must be doubled.
    scripts = str(Path(__file__).parent / "migrations").replace("%", "%%")
    config.set_main_option("script_location", scripts)
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision is not None and revision not in known:
        raise StoreTooNew(where, revision)
    command.upgrade(config, target)
