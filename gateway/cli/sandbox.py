"""`veriplex sandbox`: the server for tests; offline, in memory, the same answers every time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.listen import Host, Port, open_socket, serve_until_stopped, with_server
from gateway.cli.options import ConfigFile, read_settings
from gateway.cli.terminal import USAGE, Refusal, run

if TYPE_CHECKING:
    import socket

    from gateway.accounts import Accounts
    from gateway.settings import Settings

MAX_KEY_LENGTH = 256


def sandbox(
    ctx: typer.Context,
    host: Host = None,
    port: Port = None,
    key: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY", help="A further test key, for every dialect; may be repeated."),
    ] = None,
    seed: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="What samples are drawn from; `random` draws anew each time; else sandbox.seed.",
            show_default=False,
        ),
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Run the offline sandbox: deterministic answers for test suites.

    It asks no DNS and no mail server, stores nothing, and knows the published
    test keys alone, and those given with --key. deliverable@example.com,
    undeliverable@example.com, accept-all@example.com and others like them get
    the answer they are named for.

    Examples:
      veriplex sandbox
      veriplex sandbox --port 0 --key ci-key --seed my-suite
    """
    keys = tuple(dict.fromkeys(key or ()))
    for given in keys:
        if not 0 < len(given) <= MAX_KEY_LENGTH or not given.isprintable():
            raise Refusal(f"--key: should be 1 to {MAX_KEY_LENGTH} printable characters", USAGE)
    if seed == "":
        raise Refusal("--seed: should not be empty", USAGE)
    settings = _offline(with_server(read_settings(ctx, config), host=host, port=port), seed)
    with open_socket(settings) as sock:
        run(_serve(settings, sock, keys))


def _offline(settings: Settings, seed: str | None) -> Settings:
    changes = {
        "storage": settings.storage.model_copy(update={"url": "sqlite:///:memory:"}),
        "sandbox": settings.sandbox.model_copy(
            update={"enabled": True, "seed": seed or settings.sandbox.seed}
        ),
        "upstreams": (),
        "routing": settings.routing.model_copy(update={"order": ()}),
    }
    return settings.model_copy(update=changes)


async def _serve(settings: Settings, sock: socket.socket, keys: tuple[str, ...]) -> None:
    from gateway.app import open_services
    from gateway.logs import set_up_logs

    set_up_logs(settings.log)
    # No key that is not a test key exists, so nothing ever reaches the probe.
    async with open_services(settings) as services:
        if keys:
            await _add(services.accounts, keys)
        await serve_until_stopped(services, sock)


async def _add(accounts: Accounts, keys: tuple[str, ...]) -> None:
    from adapters.registry import DIALECTS

    account = await accounts.create_account("sandbox@example.com")
    for dialect in DIALECTS:
        for key in keys:
            if key != dialect.sandbox_key:
                await accounts.create_key(account, dialect.name, test=True, key=key, label=key)
