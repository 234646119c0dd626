"""Commands for many processes on one database: `migrate`, `cluster`, `worker`."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import create_engine, text

from gateway.cli.terminal import EXIT_FAILURE
from gateway.store.tables import REVISION
from tests.gateway.cli.conftest import Here


def run_sql(url: str, *statements: str) -> None:
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


# -- migrate -----------------------------------------------------------------------------


def test_migrate_creates_and_checks_the_tables(here: Here, database_url: str) -> None:
    variables = {"VERIPLEX_STORAGE__URL": database_url, "VERIPLEX_STORAGE__MIGRATE": "never"}
    done = here("migrate", "--check", **variables)
    assert (done.code, done.out) == (EXIT_FAILURE, "")
    assert not Path(database_url.removeprefix("sqlite:///")).exists()

    done = here("migrate", **variables)
    assert done.code == 0
    assert done.out.endswith(f": up to date (tables at {REVISION})\n")
    assert here("migrate", "--check", **variables).out == done.out


def test_migrate_brings_older_tables_up_to_date(here: Here, database_url: str) -> None:
    run_sql(database_url, "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
    variables = {"VERIPLEX_STORAGE__URL": database_url}
    done = here("migrate", "--check", **variables)
    assert done.code == EXIT_FAILURE
    assert "bring it up to date with: veriplex migrate" in done.err

    assert here("migrate", **variables).code == 0
    assert here("migrate", "--check", **variables).code == 0

    # what a later version has added, and lets this one use
    run_sql(database_url, "UPDATE alembic_version SET version_num = '9999'")
    newer = here("migrate", "--check", **variables)
    assert (newer.code, "newer than this version's" in newer.out) == (0, True)


def test_migrate_leaves_the_tables_of_other_programs_alone(here: Here, database_url: str) -> None:
    run_sql(database_url, "CREATE TABLE songs (name TEXT)")
    for args in (("migrate",), ("migrate", "--check")):
        done = here(*args, VERIPLEX_STORAGE__URL=database_url)
        assert done.code == EXIT_FAILURE
        assert "another program's tables (songs" in done.err
