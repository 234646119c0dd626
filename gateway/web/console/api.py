"""The API viewer: what `/openapi/<name>.json` says, for people."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from gateway.web.console.services import ConsoleServices
from gateway.web.console.visit import PageRoute, Section, Visit
from gateway.web.descriptions import NATIVE, ApiDescriptions

METHODS = ("get", "post", "put", "patch", "delete")
MAX_DEPTH = 6
"""Of members within members that are shown."""


def section(services: ConsoleServices) -> Section:
    page = ApiPages(services)
    routes = (
        PageRoute("/api", page.lead_to_first),
        PageRoute("/api/{name}", page.show),
        PageRoute("/api/{name}/{operation}", page.show),
    )
    return Section("API", "/api", "api", routes)


@dataclass(frozen=True, slots=True)
class Call:
    """An operation in the list of an API."""

    id: str
    method: str
    path: str
    about: str


@dataclass(frozen=True, slots=True)
class Member:
    """A row of a schema."""

    depth: int
    name: str
    type: str
    words: tuple[str, ...]
    about: str
    required: bool


class ApiPages:
    def __init__(self, services: ConsoleServices) -> None:
        self._services = services
        self._descriptions = ApiDescriptions(services.dialects)

    async def lead_to_first(self, visit: Visit) -> Response:
        return visit.redirect(f"/api/{NATIVE}")

    async def show(self, visit: Visit) -> Response:
        """An API with one of its operations."""
        name = visit.request.path_params["name"]
        url = self._services.sandbox.url
        document = await self._descriptions.find(name, url)
        if document is None:
            raise HTTPException(404)
        calls = list(_calls(document))
        wanted = visit.request.path_params.get("operation", calls[0].id)
        call = next((call for call in calls if call.id == wanted), None)
        if call is None:
            raise HTTPException(404)
        operation = document["paths"][call.path][call.method]
        reader = _Reader(document)
        return visit.render(
            "api.html",
            apis=self._descriptions.titles,
            name=name,
            info=document["info"],
            servers=[server["url"] for server in document["servers"]],
            calls=calls,
            call=call,
            keys=list(reader.keys(operation)),
            parameters=[reader.parameter(each) for each in operation["parameters"]],
            bodies=list(reader.bodies(operation)),
            replies=list(reader.replies(operation)),
            curl=reader.curl(call, operation, document["servers"][0]["url"], self._key(name)),
        )

    def _key(self, name: str) -> str:
        """The key for examples: in a sandbox one that works."""
        if not self._services.sandbox.standalone:
            return "$KEY"
        dialects = self._services.dialects
        found = next((each for each in dialects if each.name == name), dialects[0])
        return found.sandbox_key


def _calls(document: Mapping[str, Any]) -> Iterator[Call]:
    for path, methods in document["paths"].items():
        for method in METHODS:
            if method in methods:
                found = methods[method]
                yield Call(found["operationId"], method, path, found["summary"])


class _Reader:
    """Reads an OpenAPI document of ours."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._components = document["components"]
        self._security = document.get("security", [])

    def keys(self, operation: Mapping[str, Any]) -> Iterator[str]:
        """The places of a key, in words."""
        for requirement in operation.get("security", self._security):
            if not requirement:
                yield "in the body"
            for name in requirement:
                scheme = self._components["securitySchemes"][name]
                if scheme["type"] == "http":
                    yield "Authorization: Bearer KEY"
                elif scheme["in"] == "query":
                    yield f"?{scheme['name']}=KEY"
                else:
                    about = scheme.get("description", "KEY").strip("`")
                    yield f"{scheme['name']}: {about}"

    def parameter(self, found: Mapping[str, Any]) -> dict[str, Any]:
        schema = found["schema"]
        return {
            "name": found["name"],
            "place": found["in"],
            "type": _type_words(schema),
            "about": found["description"],
            "required": found["required"],
            "example": _text(found["example"]),
            "words": tuple(map(str, schema.get("enum", ()))),
        }

    def bodies(self, operation: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        for media, content in operation.get("requestBody", {}).get("content", {}).items():
            example = content.get("example")
            yield {
                "media": media,
                "members": list(self._members(content["schema"])),
                "example": None if example is None else _pretty(example),
            }

    def replies(self, operation: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        for status, response in operation["responses"].items():
            contents = []
            for media, content in response.get("content", {}).items():
                contents.append(
                    {
                        "media": media,
                        "shapes": [list(self._members(s)) for s in self._shapes(content["schema"])],
                        "examples": [
                            (name, example.get("summary", ""), _pretty(example["value"]))
                            for name, example in content.get("examples", {}).items()
                        ],
                    }
                )
            yield {
                "status": status,
                "kind": "ok" if status.startswith("2") else "bad",
                "about": response["description"],
                "contents": contents,
            }

    def curl(self, call: Call, operation: Mapping[str, Any], url: str, key: str) -> str:
        """The call with its required parameters, for a shell."""
        path = call.path
        query: list[str] = []
        words: list[str] = []
        for found in operation["parameters"]:
            value = _text(found["example"])
            if found["in"] == "path":
                path = path.replace("{" + found["name"] + "}", value)
            elif found["required"] and found["in"] == "query":
                query.append(f"{found['name']}={value}")
            elif found["required"]:
                words.append(f"-H '{found['name']}: {value}'")
        contents: dict[str, dict[str, Any]] = operation.get("requestBody", {}).get("content", {})
        requirements: list[dict[str, Any]] = operation.get("security", self._security)
        for name in requirements[0] if requirements else ():
            scheme = self._components["securitySchemes"][name]
            if scheme["type"] == "http":
                words.insert(0, f'-H "Authorization: Bearer {key}"')
            elif scheme["in"] == "query":
                query.insert(0, f"{scheme['name']}={key}")
            else:
                words.insert(0, f'-H "{scheme["name"]}: {key}"')
        text = f"{url}{path}{'?' + '&'.join(query) if query else ''}"
        command = f"curl {'' if call.method in ('get', 'post') else f'-X {call.method.upper()} '}"
        command += f'"{text}"'
        media, content = next(iter(contents.items()), ("", {}))
        if media.startswith("multipart/"):
            words += [_form_field(*each) for each in content["schema"]["properties"].items()]
        elif media == "text/csv":
            words.append(f"-H 'Content-Type: {media}' --data-binary @list.csv")
        elif "example" in content:
            words.append(f"-H 'Content-Type: {media}'")
            shown = json.dumps(content["example"])
            if media != "application/json":
                shown = "&".join(f"{k}={_text(v)}" for k, v in content["example"].items())
            words.append(f"-d '{shown}'")
        elif call.method == "post":
            words.append("-X POST")
        return " \\\n  ".join([command, *words])

    # -- schemas -------------------------------------------------------------------------

    def _resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        reference = schema.get("$ref", "")
        found: Mapping[str, Any] = (
            self._components["schemas"][reference.rpartition("/")[2]] if reference else schema
        )
        return found

    def _shapes(self, schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """The schemas of which one holds."""
        return [self._resolved(each) for each in schema.get("anyOf", [schema])]

    def _members(self, schema: Mapping[str, Any], depth: int = 0) -> Iterator[Member]:
        required = schema.get("required", ())
        for name, found in schema.get("properties", {}).items():
            yield Member(
                depth,
                name,
                _type_words(found),
                tuple("null" if word is None else str(word) for word in found.get("enum", ()))
                or tuple(map(str, found.get("items", {}).get("enum", ()))),
                found.get("description", ""),
                name in required,
            )
            inner = found if "properties" in found else found.get("items", {})
            if depth < MAX_DEPTH:
                yield from self._members(inner, depth + 1)
        if depth == 0 and schema.get("type") == "array":
            yield from self._members(schema.get("items", {}))


def _form_field(name: str, schema: Mapping[str, Any]) -> str:
    return f"-F {name}=@list.csv" if schema.get("format") == "binary" else f"-F {name}=1"


def _type_words(schema: Mapping[str, Any]) -> str:
    """`text or null`, `list of texts`, `whole number, 1 to 50`."""
    kinds = schema.get("type", "anything")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    names = [TYPE_WORDS.get(str(kind), str(kind)) for kind in kinds]
    text = " or ".join(names)
    if "array" in kinds and "items" in schema:
        text = text.replace("list", f"list of {_type_words(schema['items'])}s", 1)
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        text += f", {low:,} to {high:,}"
    elif low is not None:
        text += f", at least {low:,}"
    return text


TYPE_WORDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "array": "list",
    "object": "object",
    "null": "null",
}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _pretty(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
