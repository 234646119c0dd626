"""Bringing older tables up to date. The only file that imports Alembic, and only when needed."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from gateway.store.errors import StoreTooNew


def upgrade(connection: Connection, where: str, revision: str | None) -> None:
    """Run what is missing since `revision` in the connection's transaction, all or nothing.

    Raises StoreTooNew for a revision that is none of ours.
    """
    config = Config()
    # Alembic reads the value as a template, where a percent sign has to be doubled.
    scripts = str(Path(__file__).parent / "migrations").replace("%", "%%")
    config.set_main_option("script_location", scripts)
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision is not None and revision not in known:
        raise StoreTooNew(where, revision)
    command.upgrade(config, "head")
