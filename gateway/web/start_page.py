"""What `/` and `/veriplex/v1` show: how to call this server.

A browser is led to the console. Where there is none, or it would refuse the browser for the name by
which it calls, it gets a page that stands by itself: it loads nothing and runs nothing. A program
gets JSON.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from html import escape
from importlib.metadata import version
from inspect import cleandoc
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from adapters.contract.dialect import Dialect

DOCS_URL = "https://github.com/veriplex/veriplex/tree/main/docs"
CONSOLE_PATH = "/console"
KEY_VARIABLE = "$KEY"
"""In the place of a key that is not published."""

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 1.5rem 0 0; }
code { overflow-wrap: anywhere; }
pre { overflow-x: auto; background: #8882; padding: .5rem .75rem; border-radius: .25rem; }
:root { color-scheme: light dark; }
"""
STYLE_HASH = b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
PAGE_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; base-uri 'none';"
        " form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept",
}


class StartPage:
    """The two pages."""

    def __init__(
        self,
        dialects: Sequence[Dialect],
        *,
        with_test_keys: bool,
        console_admits: Callable[[Request], bool] = lambda _: False,
    ) -> None:
        """`with_test_keys` says that the published test keys are valid."""
        self._dialects = tuple(dialects)
        self._with_test_keys = with_test_keys
        self._console_admits = console_admits
        self._calls: list[dict[str, str]] = []

    def list_calls(self, routes: Sequence[Route]) -> None:
        """Have `calls` show these, each described by its function."""
        self._calls = [
            {
                "method": min((route.methods or {"GET"}) - {"HEAD"}),
                "path": route.path,
                "about": _first_sentence(route.endpoint.__doc__),
            }
            for route in routes
        ]

    async def start(self, request: Request) -> Response:
        """What this server is, and a first call in each dialect."""
        url = str(request.base_url).rstrip("/")
        if "text/html" in request.headers.get("accept", ""):
            if self._console_admits(request):
                return RedirectResponse(CONSOLE_PATH, 303, headers={"Vary": "Accept"})
            return Response(self._page(url), headers=PAGE_HEADERS, media_type="text/html")
        body = {
            "name": "veriplex",
            "version": version("veriplex"),
            "docs": DOCS_URL,
            "calls": f"{url}/veriplex/v1",
            "openapi": f"{url}/openapi",
            "dialects": list(self._describe(url)),
        }
        return _json(body)

    async def calls(self, _: Request) -> Response:
        """The list of these calls."""
        return _json({"docs": DOCS_URL, "calls": self._calls})

    def _describe(self, url: str) -> Iterator[dict[str, str]]:
        for dialect in self._dialects:
            key = dialect.sandbox_key if self._with_test_keys else KEY_VARIABLE
            example = dialect.example.curl(f"{url}/{dialect.name}", key) if dialect.example else ""
            yield {
                "name": dialect.name,
                "title": dialect.title,
                "base_url": f"{url}{dialect.base_path}",
                "prefixed_base_url": f"{url}/{dialect.name}{dialect.base_path}",
                "example": example,
            }

    def _page(self, url: str) -> str:
        name = "sandbox" if self._with_test_keys else "server"
        lines = [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8"><title>Veriplex</title>',
            '<meta name="viewport" content="width=device-width">',
            '<link rel="icon" href="data:,">',
            f"<style>{STYLE}</style></head><body>",
            f"<h1>Veriplex {escape(version('veriplex'))}</h1>",
            f"<p>This {name} answers as these vendors do. Point your client's base URL at it.</p>",
        ]
        if not self._with_test_keys:
            lines.append(
                "<p>Keys: <code>veriplex keys list</code> shows them,"
                " <code>veriplex keys create</code> makes another.</p>"
            )
        for shown in self._describe(url):
            lines.append(f"<h2>{escape(shown['title'])}</h2>")
            lines.append(f"<p><code>{escape(shown['base_url'])}</code> or")
            lines.append(f"<code>{escape(shown['prefixed_base_url'])}</code></p>")
            if shown["example"]:
                lines.append(f"<pre>{escape(shown['example'])}</pre>")
        links = (
            ("Documentation", DOCS_URL),
            ("Calls", "/veriplex/v1"),
            ("OpenAPI", "/openapi"),
            ("Metrics", "/metrics"),
        )
        anchors = " · ".join(f'<a href="{escape(to)}">{text}</a>' for text, to in links)
        return "\n".join((*lines, f"<p>{anchors}</p>", "</body></html>", ""))


def _first_sentence(text: str | None) -> str:
    first = cleandoc(text or "").split("\n\n")[0].replace("\n", " ")
    return first.replace("`", "")


def _json(body: Any) -> Response:
    return Response(orjson.dumps(body), media_type="application/json", headers={"Vary": "Accept"})
