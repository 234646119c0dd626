"""Example requests, made of the description of an endpoint: good ones, and such as are refused."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from adapters.contract.description import (
    EXAMPLE_LIST,
    FORM,
    MULTIPART,
    Description,
    Param,
    Place,
)
from adapters.contract.dialect import AnyEndpoint, Dialect
from adapters.contract.wire import JSON, WireRequest
from adapters.kit.multipart import FormField, FormFile, multipart_body
from adapters.kit.openapi.outcomes import EXAMPLE_TOKEN, example_job_id

BODY_METHODS = ("POST", "PUT", "PATCH")
ODD_VALUES: tuple[Any, ...] = ("", "?", -1, 10**12, [], [7], ["?"], {}, {"a": []}, [{}], "2026-1-1")
"""Values that readers may refuse."""
PARAM_EXAMPLES: Mapping[str, str] = {"token": EXAMPLE_TOKEN}
"""Of parts of paths that no description has."""


def described(endpoint: AnyEndpoint) -> Description:
    return endpoint.description or Description(endpoint.name.replace("_", " ").capitalize() + ".")


def path_param_names(endpoint: AnyEndpoint) -> list[str]:
    return [part.partition("}")[0] for part in endpoint.path.split("{")[1:]]


def path_examples(dialect: Dialect, endpoint: AnyEndpoint) -> dict[str, str]:
    known = {param.name: param.example for param in described(endpoint).placed(Place.PATH)}
    job_id = next(iter(dialect.example_job_ids), None) or example_job_id(dialect.batch_rules)
    own = {**PARAM_EXAMPLES, "job_id": job_id}
    return {name: str(known.get(name, own.get(name, "x"))) for name in path_param_names(endpoint)}


def good_requests(dialect: Dialect, endpoint: AnyEndpoint, method: str) -> Iterator[WireRequest]:
    """The shortest request, then one for each further parameter, word and kind of body."""
    build = RequestBuilder(dialect, endpoint, method)
    optional = [param for param in build.params if not param.required]
    yield build.request({})
    for param in optional:
        for value in param.choices or (param.example, *param.further):
            yield build.request({param.name: value})
    yield build.request({param.name: param.example for param in optional})
    for media_type in build.bodies[1:]:
        yield build.request({}, media_type)


def bad_requests(dialect: Dialect, endpoint: AnyEndpoint, method: str) -> Iterator[WireRequest]:
    """Requests without each parameter and with odd values, and bodies of other kinds."""
    build = RequestBuilder(dialect, endpoint, method)
    for param in build.params:
        yield build.request({}, without=param.name)
        for value in ODD_VALUES:
            yield build.request({param.name: value})
    for name in path_param_names(endpoint):
        for text in ("?", "", "0" * 40):
            yield build.request({}, path_params={name: text})
    if build.bodies:
        for media_type in ("application/json", "text/plain", "image/png", FORM, MULTIPART):
            for body in (b"", b"{", b"[]", b"?", b"\0\xff", b"name\nAnn\n"):
                yield build.raw(media_type, body)
        yield build.raw(JSON, b"{}", {"transfer-encoding": "chunked"})


class RequestBuilder:
    """Makes the requests of one endpoint with one method."""

    def __init__(self, dialect: Dialect, endpoint: AnyEndpoint, method: str) -> None:
        description = described(endpoint)
        self._endpoint = endpoint
        self._method = method
        self._description = description
        self._path_params = path_examples(dialect, endpoint)
        self.bodies = description.bodies if method in BODY_METHODS else ()
        self.params = [
            param
            for param in description.params
            if param.place is not Place.PATH and (self.bodies or param.place is not Place.BODY)
        ]

    def request(
        self,
        values: Mapping[str, Any],
        media_type: str = "",
        *,
        without: str = "",
        path_params: Mapping[str, str] | None = None,
    ) -> WireRequest:
        """A request with the required parameters and these."""
        sent = [
            (param, values.get(param.name, param.example))
            for param in self.params
            if param.name != without and (param.required or param.name in values)
        ]
        media_type = media_type or next(iter(self.bodies), "")
        in_query = [
            (param.name, value)
            for param, value in sent
            if param.place is Place.QUERY or (param.place is Place.USUAL and not media_type)
        ]
        headers = {
            param.name.lower(): _text(value) for param, value in sent if param.place is Place.HEADER
        }
        body, content_type = b"", media_type
        members = [
            (param, value)
            for param, value in sent
            if param.place in (Place.USUAL, Place.BODY, Place.FILE) and media_type
        ]
        if self._description.list_body and media_type:
            body = EXAMPLE_LIST.encode()
        elif media_type:
            body, content_type = _encoded(media_type, members)
        if media_type:
            headers["content-type"] = content_type
        return WireRequest(
            self._method,
            self._endpoint.path.format_map(self._path_params | dict(path_params or {})),
            urlencode([(name, _text(value)) for name, value in in_query]),
            headers,
            body,
            path_params=self._path_params | dict(path_params or {}),
        )

    def raw(
        self, media_type: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> WireRequest:
        """A request with any body."""
        return WireRequest(
            self._method,
            self._endpoint.path.format_map(self._path_params),
            "",
            {"content-type": media_type, **(headers or {})},
            body,
            path_params=self._path_params,
        )


def _encoded(media_type: str, members: Sequence[tuple[Param, Any]]) -> tuple[bytes, str]:
    """A body, and its content type."""
    if media_type == MULTIPART:
        parts: Sequence[FormField | FormFile] = [
            FormFile(param.name, "list.csv", _text(value).encode())
            if param.place is Place.FILE
            else FormField(param.name, _text(value))
            for param, value in members
        ]
        content_type, body = multipart_body(parts)
        return body, content_type
    if media_type == FORM:
        pairs = [(param.name, _text(value)) for param, value in members]
        return urlencode(pairs).encode(), FORM
    values = {param.name: value for param, value in members}
    return json.dumps(values).encode(), media_type


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else json.dumps(value)
