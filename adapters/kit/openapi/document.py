"""The OpenAPI document of a dialect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from itertools import islice
from typing import Any

import orjson

from adapters.contract.credential import (
    Credential,
    KeyInAuthorization,
    KeyInBody,
    KeyInHeader,
    KeyInQuery,
)
from adapters.contract.description import MULTIPART, Param, Place
from adapters.contract.dialect import AnyEndpoint, Dialect
from adapters.contract.problems import ProblemKind
from adapters.contract.wire import JSON
from adapters.kit.openapi.outcomes import World
from adapters.kit.openapi.replies import Observed, observe, submissions
from adapters.kit.openapi.requests import BODY_METHODS, described, path_examples
from adapters.kit.openapi.schemas import Names, schema_of

OPENAPI = "3.1.0"
BINARY = ("application/zip", "application/octet-stream")
MAX_EXAMPLES = 8
"""Errors of one status that are shown."""

PROBLEM_WORDS: Mapping[ProblemKind, str] = {
    ProblemKind.UNREADABLE: "The request cannot be decoded",
    ProblemKind.MISSING: "A parameter is missing",
    ProblemKind.INVALID: "A parameter is invalid",
    ProblemKind.NO_CREDENTIAL: "The key is missing",
    ProblemKind.BAD_CREDENTIAL: "The key is not known",
    ProblemKind.SUSPENDED: "The account is suspended",
    ProblemKind.UNCONFIRMED: "The account is not confirmed",
    ProblemKind.CLIENT_BLOCKED: "The client's address is blocked",
    ProblemKind.NO_CREDITS: "The account has no credits left",
    ProblemKind.TOO_FAST: "There were too many requests",
    ProblemKind.UNKNOWN_PATH: "There is no such path",
    ProblemKind.WRONG_METHOD: "The path does not have this method",
    ProblemKind.TOO_LARGE: "The body is too large",
    ProblemKind.NOT_READY: "The verification takes longer than the client waits",
    ProblemKind.INTERNAL: "The server has a bug",
    ProblemKind.UNAVAILABLE: "No source can answer now",
    ProblemKind.TOO_MANY: "There are too many addresses",
    ProblemKind.JOB_MALFORMED: "The id of the batch is malformed",
    ProblemKind.JOB_UNKNOWN: "There is no such batch",
    ProblemKind.JOB_STATE: "The batch is in another state",
    ProblemKind.BATCHES_WAITING: "Too many batches wait",
    ProblemKind.BATCHES_RUNNING: "Too many batches run",
    ProblemKind.BATCHES_SPENT: "There were too many batches today",
}


def describe(dialect: Dialect, *, version: str) -> dict[str, Any]:
    """The document without `servers`; `version` is that of this server.

    It takes a second or so of computing.
    """
    return _Document(dialect).render(version)


def with_servers(document: dict[str, Any], dialect: Dialect, url: str) -> dict[str, Any]:
    """The document for a server at `url`, which has no slash at its end."""
    servers = [
        {"url": f"{url}/{dialect.name}", "description": f"{dialect.title}'s paths alone"},
        {"url": url, "description": "The paths of all vendors"},
    ]
    head = {name: document[name] for name in ("openapi", "info")}
    return {**head, "servers": servers, **document}


class _Document:
    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._names = frozenset(path.rpartition(".")[2] for path in dialect.verdict_members)
        self._schemas: dict[str, dict[str, Any]] = {}
        self._schemes: dict[str, dict[str, Any]] = {}
        self._ids: set[str] = set()
        templates = submissions(dialect)
        self._observed = {
            (endpoint.path, method): observe(dialect, endpoint, method, templates)
            for endpoint in _without_slashes(dialect.endpoints)
            for method in endpoint.methods
        }
        errors = {
            body: None
            for replies in self._observed.values()
            for (_, media), found in replies.items()
            if media == JSON
            for body in found.problems
        }
        self._common_errors = schema_of([orjson.loads(body) for body in errors])

    def render(self, version: str) -> dict[str, Any]:
        dialect = self._dialect
        paths: dict[str, dict[str, Any]] = {}
        for endpoint in _without_slashes(dialect.endpoints):
            for method in endpoint.methods:
                call = self._operation(endpoint, method)
                paths.setdefault(endpoint.path, {})[method.lower()] = call
        return {
            "openapi": OPENAPI,
            "info": {
                "title": f"{dialect.title}, spoken by Veriplex",
                "version": version,
                "description": (
                    f"The API of {dialect.title} as this server answers it. It was made from the"
                    " code that serves it; the server reads more forms of a request than are"
                    " described here, as the vendor does."
                ),
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "paths": paths,
            "components": {
                "schemas": self._schemas,
                "securitySchemes": self._schemes,
                "headers": OWN_HEADERS,
            },
        }

    # -- an operation --------------------------------------------------------------------

    def _operation(self, endpoint: AnyEndpoint, method: str) -> dict[str, Any]:
        description = described(endpoint)
        operation_id = self._operation_id(endpoint, method)
        has_body = method in BODY_METHODS and bool(description.bodies)
        in_body = [
            param
            for param in description.placed(Place.USUAL, Place.BODY, Place.FILE)
            if has_body and not description.list_body
        ]
        credential = self._dialect.credential_for(endpoint)
        key_members = [
            place
            for place in credential.places
            if endpoint.needs_key and isinstance(place, KeyInBody) and method in place.methods
        ]
        operation: dict[str, Any] = {
            "operationId": operation_id,
            "summary": description.about,
            "parameters": [
                *self._path_parameters(endpoint),
                *(
                    parameter_object(param, "query" if param.place is Place.USUAL else param.place)
                    for param in description.params
                    if param not in in_body and param.place not in (Place.PATH, Place.BODY)
                ),
            ],
        }
        requirements = self._security(credential, method) if endpoint.needs_key else []
        if requirements and key_members:
            # the key may stand in the body instead, which no scheme of OpenAPI expresses
            requirements.append({})
        operation["security"] = requirements
        if has_body:
            members = [
                Param(
                    self._shown_key_name(place),
                    "The key.",
                    self._dialect.sandbox_key,
                    required=not requirements,
                )
                for place in key_members[:1]
            ]
            operation["requestBody"] = request_body_object(
                (*members, *in_body), description.bodies, is_list=description.list_body
            )
        words = Names(self._names, description.open_members)
        observed = self._observed[endpoint.path, method]
        operation["responses"] = {
            str(status): self._response(
                status,
                {media: found for (other, media), found in observed.items() if other == status},
                operation_id,
                words,
                with_account=endpoint.needs_key,
            )
            for status in sorted({status for status, _ in observed})
        }
        return operation

    def _operation_id(self, endpoint: AnyEndpoint, method: str) -> str:
        plain = "".join(char if char.isalnum() else "_" for char in endpoint.name)
        wanted = plain if len(endpoint.methods) == 1 else f"{plain}_{method.lower()}"
        found, number = wanted, 1
        while found in self._ids:
            number += 1
            found = f"{wanted}_{number}"
        self._ids.add(found)
        return found

    def _path_parameters(self, endpoint: AnyEndpoint) -> Iterator[dict[str, Any]]:
        known = {param.name: param for param in described(endpoint).placed(Place.PATH)}
        for name, example in path_examples(self._dialect, endpoint).items():
            about = "The id of the batch." if name == "job_id" else "A part of a link."
            param = known.get(name) or Param(name, about, example)
            yield parameter_object(param, "path") | {"required": True}

    # -- keys ----------------------------------------------------------------------------

    def _security(self, credential: Credential, method: str) -> list[dict[str, Any]]:
        """The places outside the body, each of which is enough."""
        requirements: dict[str, None] = {}
        for place in credential.places:
            for name, scheme in self._scheme(place):
                self._schemes[name] = scheme
                requirements[name] = None
        return [{name: []} for name in requirements]

    def _scheme(self, place: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        match place:
            case KeyInAuthorization():
                if "bearer" in place.schemes:
                    yield "bearer", {"type": "http", "scheme": "bearer"}
                others = [scheme for scheme in place.schemes if scheme != "bearer"]
                for scheme in others:
                    about = f"`{scheme} KEY`" if scheme else "The key alone"
                    named = {"type": "apiKey", "in": "header", "name": "Authorization"}
                    yield f"authorization_{scheme or 'plain'}", {**named, "description": about}
            case KeyInHeader():
                named = {"type": "apiKey", "in": "header", "name": place.name}
                yield place.name.replace("-", "_"), named
            case KeyInQuery():
                name = self._shown_key_name(place)
                yield name, {"type": "apiKey", "in": "query", "name": name}

    def _shown_key_name(self, place: KeyInQuery | KeyInBody) -> str:
        """The vendor's spelling of a name that is read in any case."""
        example = self._dialect.example
        if place.any_case and example is not None:
            return next((name for name in example.query if name.lower() == place.name), place.name)
        return place.name

    # -- replies -------------------------------------------------------------------------

    def _response(
        self,
        status: int,
        by_media: Mapping[str, Observed],
        operation_id: str,
        names: Names,
        *,
        with_account: bool,
    ) -> dict[str, Any]:
        kinds = {kind for found in by_media.values() for kind in found.problems.values()}
        errors = [PROBLEM_WORDS[kind] for kind in PROBLEM_WORDS if kind in kinds]
        has_result = any(found.results for found in by_media.values())
        about = sentence(([self._phrase(status)] if has_result else []) + errors)
        headers = {name: None for found in by_media.values() for name in found.headers}
        if with_account:
            headers |= self._account_headers()
        response: dict[str, Any] = {
            "description": about,
            "headers": {
                **{name: {"$ref": f"#/components/headers/{name}"} for name in OWN_HEADERS},
                **{name: {"schema": {"type": "string"}} for name in headers},
            },
        }
        content = {
            media: self._content(media, found, operation_id, names)
            for media, found in by_media.items()
            if media
        }
        return {**response, "content": content} if content else response

    def _phrase(self, status: int) -> str:
        own = self._dialect.reason_phrases.get(status)
        return own or HTTPStatus(status).phrase

    def _account_headers(self) -> dict[str, None]:
        write = self._dialect.account_headers
        is_everywhere = not self._dialect.account_header_hosts
        shown = write(World().account) if write and is_everywhere else ()
        headers: dict[str, None] = dict.fromkeys(name for name, _ in shown)
        if self._dialect.timing_header:
            headers[self._dialect.timing_header] = None
        return headers

    def _content(
        self, media: str, found: Observed, operation_id: str, names: Names
    ) -> dict[str, Any]:
        if media in BINARY:
            return {"schema": {"type": "string", "format": "binary"}}
        is_json = media == JSON
        results = [orjson.loads(body) if is_json else body.decode() for body in found.results]
        problems = {
            kind.value: orjson.loads(body) if is_json else body.decode()
            for body, kind in reversed(found.problems.items())
        }
        examples = {"usual": {"value": results[0]}} if results else {}
        for name in islice(reversed(problems), MAX_EXAMPLES):
            examples[name] = {
                "summary": f"{PROBLEM_WORDS[ProblemKind(name)]}.",
                "value": problems[name],
            }
        if not is_json:
            return {"schema": {"type": "string"}, "examples": examples}
        schemas = []
        if results:
            title = "".join(part.title() for part in operation_id.split("_"))
            schemas.append(self._component(f"{title}Reply", schema_of(results, names)))
        if problems:
            schemas.append(self._component("Error", self._error_schema(found)))
        schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
        return {"schema": schema, "examples": examples}

    def _error_schema(self, found: Observed) -> dict[str, Any]:
        """One schema for all errors of a dialect, if they have a member in common."""
        if self._common_errors.get("required"):
            return self._common_errors
        return schema_of([orjson.loads(body) for body in found.problems])

    def _component(self, name: str, schema: dict[str, Any]) -> dict[str, Any]:
        """A reference to a schema, which is named once."""
        known = next((key for key, other in self._schemas.items() if other == schema), None)
        number = 1
        while known is None:
            candidate = name if number == 1 else f"{name}{number}"
            if candidate not in self._schemas:
                self._schemas[candidate] = schema
                known = candidate
            number += 1
        return {"$ref": f"#/components/schemas/{known}"}


def sentence(parts: Sequence[str]) -> str:
    """Sentences in one: `The key is missing; the key is not known.`"""
    return "; ".join([parts[0], *(part[0].lower() + part[1:] for part in parts[1:])]) + "."


def _without_slashes(endpoints: Sequence[AnyEndpoint]) -> Iterator[AnyEndpoint]:
    """The endpoints, without those that repeat another with a slash at its end."""
    known = {(endpoint.name, endpoint.path) for endpoint in endpoints}
    for endpoint in endpoints:
        if not (endpoint.path.endswith("/") and (endpoint.name, endpoint.path[:-1]) in known):
            yield endpoint


def parameter_object(param: Param, place: str) -> dict[str, Any]:
    return {
        "name": param.name,
        "in": str(place),
        "description": param.about,
        "required": param.required,
        "schema": _param_schema(param),
        "example": param.example,
    }


def _param_schema(param: Param) -> dict[str, Any]:
    if param.place is Place.FILE:
        return {"type": "string", "format": "binary"}
    schema = _loose_schema(param.example)
    if param.choices:
        schema["enum"] = list(param.choices)
    if param.minimum is not None:
        schema["minimum"] = param.minimum
    if param.maximum is not None:
        schema["maximum"] = param.maximum
    if param.required and schema.get("type") == "string":
        schema["minLength"] = 1
    if param.required and schema.get("type") == "array":
        schema["minItems"] = 1
    return schema


def _loose_schema(value: Any) -> dict[str, Any]:
    """The types of a value; the members of an object may be left out."""
    schema = schema_of([value])
    schema.pop("required", None)
    if isinstance(value, dict):
        schema["properties"] = {name: _loose_schema(member) for name, member in value.items()}
    if isinstance(value, list) and value:
        schema["items"] = _loose_schema(value[0])
    return schema


def request_body_object(
    params: Sequence[Param], bodies: Sequence[str], *, is_list: bool
) -> dict[str, Any]:
    if is_list:
        return {
            "required": True,
            "content": {media: {"schema": {"type": "string"}} for media in bodies},
        }
    schema = {
        "type": "object",
        "properties": {
            param.name: {**_param_schema(param), "description": param.about} for param in params
        },
        "required": [param.name for param in params if param.required],
    }
    example = {param.name: param.example for param in params if param.required}
    return {
        "required": any(param.required for param in params),
        "content": {
            media: {"schema": schema}
            if media == MULTIPART or not example
            else {"schema": schema, "example": example}
            for media in bodies
        },
    }


OWN_HEADERS: Mapping[str, dict[str, Any]] = {
    "X-Request-Id": {
        "description": "The id of the request in the log; the client's own, if it sent one.",
        "schema": {"type": "string"},
    },
    "X-Veriplex-Source": {
        "description": "Who answered: `local`, `sandbox`, an upstream's name, or `none`.",
        "schema": {"type": "string"},
    },
    "X-Veriplex-Attempts": {
        "description": "How many sources were asked.",
        "schema": {"type": "string"},
    },
    "Cache-Status": {
        "description": "Whether the verdict was cached (RFC 9211).",
        "schema": {"type": "string"},
    },
}
