"""A real browser, and a server on loopback that it visits."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from gateway.web.dispatch import create_app
from tests.conftest import AXE

SCREENSHOTS = Path(__file__).parents[4] / "build" / "screenshots"
"""Each page at each size, to be looked at."""
SIZES = {"phone": (360, 780), "laptop": (1280, 800), "wall": (3840, 2160)}
SERIOUS = ("serious", "critical")
TIME_OUT_MS = 10_000


@contextlib.asynccontextmanager
async def listening(services: Any, port: int = 0) -> AsyncIterator[str]:
    """The URL of a server; without a port on a free one."""
    config = uvicorn.Config(create_app(services), log_config=None, lifespan="off")
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(
        lambda: HttpToolsProtocol(config, state, {}), "127.0.0.1", port
    )
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    services.sandbox.url = url
    try:
        yield url
    finally:
        listener.close()
        for protocol in list(state.connections):
            protocol.transport.abort()
        for task in list(state.tasks):
            task.cancel()
        await asyncio.gather(*state.tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        yield browser
        await browser.close()


@contextlib.asynccontextmanager
async def window(
    browser: Browser,
    size: str = "laptop",
    *,
    dark: bool = False,
    scripts: bool = True,
    refusals: bool = False,
) -> AsyncIterator[Page]:
    """A window with cookies of its own. What a page complains of in its console fails the test,
    except, with `refusals`, that the server refused something or did not answer."""
    width, height = SIZES[size]
    context: BrowserContext = await browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        java_script_enabled=scripts,
    )
    context.set_default_timeout(TIME_OUT_MS)
    page = await context.new_page()
    complaints: list[str] = []

    def is_complaint(message: ConsoleMessage) -> bool:
        is_refusal = message.text.startswith(("Failed to load resource", "htmx:"))
        return message.type == "error" and not (refusals and is_refusal)

    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda message: complaints.append(message.text) if is_complaint(message) else None,
    )
    try:
        yield page
        assert not complaints, complaints
    finally:
        await context.close()


async def look(page: Page, name: str) -> None:
    """Judge the page that is shown, and keep a picture of it."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
    sizes = await page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert sizes[0] <= sizes[1], f"{name} is wider than its window"
    # by the debugger's way, which the page's own policy does not bind
    await page.evaluate(AXE.read_text("utf-8"))
    found = await page.evaluate("axe.run({resultTypes: ['violations']})")
    serious = [
        (violation["id"], [node["html"][:200] for node in violation["nodes"]][:3])
        for violation in found["violations"]
        if violation["impact"] in SERIOUS
    ]
    assert not serious, f"{name}: {serious}"
