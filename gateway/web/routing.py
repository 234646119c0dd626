"""Finds the dialect and the endpoint of a request by its host and path.

Pure. Every dialect is served under its vendor's host names, under its own prefix, and at the root
on the vendor's paths.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import parse_qs

from adapters.contract.dialect import AnyEndpoint, Dialect, RootPath
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import WireRequest

MAX_CACHED_CHARACTERS = 300
"""Of host and path; longer ones are not cached. Clients use few, and those are short."""

MIN_SIMILARITY = 65
"""Percent of two paths' characters that must be the same for one to be proposed for the other."""


@dataclass(frozen=True, slots=True)
class VendorPath:
    """A dialect, and the path as its vendor's own server would see it."""

    dialect: Dialect
    path: str


class VendorRoutes:
    """All hosts, prefixes and paths of the dialects."""

    def __init__(self, dialects: Iterable[Dialect]) -> None:
        self.dialects = tuple(dialects)
        self._by_host = {host: d for d in self.dialects for host in d.hosts}
        self._by_prefix = {name: d for d in self.dialects for name in (d.name, *d.aliases)}
        self._roots = sorted(
            ((root, d) for d in self.dialects for root in d.root_paths),
            key=lambda pair: (
                -len(pair[0].prefix),
                pair[0].parameter is None and pair[0].when is None,
            ),
        )
        self._endpoints = {
            d.name: _EndpointTable(d.endpoints, answers_head=d.answers_head) for d in self.dialects
        }
        self._cached_candidates = lru_cache(1024)(self._candidates)

    def match(
        self,
        host: str,
        path: str,
        query_string: str,
        *,
        method: str = "GET",
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> VendorPath | None:
        """The dialect of a request, and its path there; None if it is no dialect's.

        `host` is the Host header, with or without a port.
        """
        is_short = len(host) + len(path) <= MAX_CACHED_CHARACTERS
        find = self._cached_candidates if is_short else self._candidates
        for root, vendor_path in find(host, path):
            if root is None or (
                (root.parameter is None or _has_parameter(query_string, root.parameter))
                and (root.when is None or root.when(_head(method, path, query_string, headers)))
            ):
                return vendor_path
        return None

    def _candidates(self, host: str, path: str) -> tuple[tuple[RootPath | None, VendorPath], ...]:
        """Possible matches, the best first, each with the conditions that the request must meet."""
        dialect = self._by_host.get(host_name(host))
        if dialect is not None:
            return ((None, VendorPath(dialect, path)),)
        first_segment, slash, rest = path[1:].partition("/")
        dialect = self._by_prefix.get(first_segment)
        if dialect is not None:
            return ((None, VendorPath(dialect, slash + rest)),)
        return tuple(
            (root, VendorPath(owner, path))
            for root, owner in self._roots
            if _is_under(path, root.prefix)
        )

    def find_endpoint(
        self, vendor_path: VendorPath, method: str
    ) -> tuple[AnyEndpoint | None, Mapping[str, str], Problem | None]:
        """The endpoint, its path parameters, and a `Problem` if there is none for the method.

        With a wrong method the path's endpoint is still returned: some vendors' errors depend on
        it.
        """
        return self._endpoints[vendor_path.dialect.name].find(vendor_path.path, method)


class NearestPaths:
    """Finds the path that a client with a wrong base URL may have meant."""

    def __init__(self, dialects: Iterable[Dialect], own_paths: Iterable[str] = ()) -> None:
        self._owners: dict[str, Dialect | None] = dict.fromkeys(own_paths)
        for dialect in dialects:
            for endpoint in dialect.endpoints:
                self._owners.setdefault(endpoint.path, dialect)

    def find(self, path: str) -> tuple[str, Dialect | None]:
        """The most similar path and its dialect, None for one of the server's own.

        The path is empty if none is similar.
        """
        # imported here: a sandbox has to start quickly, and few requests need it
        from rapidfuzz import fuzz, process

        wanted = path[:MAX_CACHED_CHARACTERS]
        best = process.extractOne(
            wanted, list(self._owners), scorer=fuzz.ratio, score_cutoff=MIN_SIMILARITY
        )
        return (best[0], self._owners[best[0]]) if best else ("", None)


def host_name(host: str) -> str:
    """The name in a Host header, without a port and the dot of the root; empty for none."""
    return host.split(":", 1)[0].rstrip(".").lower()


def fold_slashes(path: str) -> str:
    """The path with one slash where a client, joining its base URL, has put several."""
    return _SLASHES.sub("/", path) if "//" in path else path


_SLASHES = re.compile("/{2,}")


def _head(
    method: str, path: str, query_string: str, headers: Iterable[tuple[bytes, bytes]]
) -> WireRequest:
    return WireRequest(
        method,
        path,
        query_string,
        {name.decode("latin-1"): value.decode("latin-1") for name, value in headers},
    )


def _is_under(path: str, prefix: str) -> bool:
    """Whether `prefix` is a prefix of `path` in whole segments."""
    return path.startswith(prefix) and (prefix[-1] == "/" or path[len(prefix) :][:1] in ("", "/"))


def _has_parameter(query_string: str, parameter: str) -> bool:
    if parameter not in query_string and not _ENCODED_NAME.search(query_string):
        return False
    return parameter in parse_qs(query_string, keep_blank_values=True)


_ENCODED_NAME = re.compile("(?:^|&)[^=&]*%")
"""A query in which the name of a parameter has a percent escape."""


class _EndpointTable:
    """One dialect's endpoints by path."""

    def __init__(self, endpoints: Iterable[AnyEndpoint], *, answers_head: bool) -> None:
        self._answers_head = answers_head
        self._fixed: dict[str, list[AnyEndpoint]] = {}
        patterns: dict[str, list[AnyEndpoint]] = {}
        for endpoint in endpoints:
            table = patterns if "{" in endpoint.path else self._fixed
            table.setdefault(endpoint.path, []).append(endpoint)
        self._patterns = [(_path_pattern(path), found) for path, found in patterns.items()]

    def find(
        self, path: str, method: str
    ) -> tuple[AnyEndpoint | None, Mapping[str, str], Problem | None]:
        """A HEAD is a GET whose reply has no body (RFC 9110, section 9.3.2)."""
        if method == "HEAD" and self._answers_head:
            method = "GET"
        found = self._fixed.get(path)
        if found is None and path[-1:] == "/":
            # no vendor has another answer at a path with a slash at its end
            path = path.rstrip("/")
            found = self._fixed.get(path)
        params: Mapping[str, str] = {}
        if found is None:
            for pattern, endpoints in self._patterns:
                if match := pattern.fullmatch(path):
                    found, params = endpoints, match.groupdict()
                    break
            else:
                return None, {}, Problem(ProblemKind.UNKNOWN_PATH)
        for endpoint in found:
            if method in endpoint.methods:
                return endpoint, params, None
        allow = tuple(method for endpoint in found for method in endpoint.methods)
        return found[0], params, Problem(ProblemKind.WRONG_METHOD, allowed_methods=allow)


def _path_pattern(path: str) -> re.Pattern[str]:
    """`/v1/bulk/{job_id}` as a regular expression whose groups are the parameters."""
    parts = re.split(r"\{(\w+)\}", path)  # text and parameter in turn
    return re.compile(
        "".join(
            f"(?P<{part}>{'.' if part == 'rest' else '[^/]'}+)" if i % 2 else re.escape(part)
            for i, part in enumerate(parts)
        ),
        re.DOTALL,
    )
