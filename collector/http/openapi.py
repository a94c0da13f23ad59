"""The OpenAPI 3.1 document, made from the tables of operations and the structs that are answered.

``Operation`` describes one method on one path. What handlers accept and what is described come from the same
constants where that is possible; a test holds the rest against the routes of the application.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final, Literal

import msgspec

from collector.http.problems import PROBLEM_CONTENT_TYPE
from collector.http.schemas import Problem

OPENAPI_VERSION: Final = "3.1.0"

DIGEST: Final[Mapping[str, object]] = {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"}
TEXT: Final[Mapping[str, object]] = {"type": "string"}

Security = Literal["token", "certificate"]

_REF: Final = "#/components/schemas/{name}"
_SECURITY_SCHEMES: Final = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token zlt_<id>_<secret>, issued with scopes, agencies and an end.",
    },
    "certificate": {
        "type": "mutualTLS",
        "description": "A station's client certificate, whose key is enrolled in the log.",
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter in the path or the query; those in the path are required."""

    name: str
    where: Literal["path", "query"]
    schema: Mapping[str, object]
    description: str

    def document(self) -> dict[str, object]:
        return {
            "name": self.name,
            "in": self.where,
            "required": self.where == "path",
            "description": self.description,
            "schema": dict(self.schema),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A body: one of our structs, or bytes of a media type that has its own specification."""

    media_type: str = "application/json"
    struct: type[msgspec.Struct] | None = None

    def document(self) -> dict[str, object]:
        if self.struct is None:
            return {self.media_type: {}}
        return {self.media_type: {"schema": {"$ref": _REF.format(name=self.struct.__name__)}}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method on one path. ``security`` lists what opens it, each alone; empty: open to everybody."""

    method: str
    path: str
    id: str
    summary: str
    answers: Mapping[int, Content | None]
    security: Sequence[Security]
    parameters: Sequence[Parameter] = ()
    body: Content | None = None

    def names(self) -> tuple[str, ...]:
        """Names of the parameters in the query."""
        return tuple(parameter.name for parameter in self.parameters if parameter.where == "query")

    def document(self) -> dict[str, object]:
        document: dict[str, object] = {
            "operationId": self.id,
            "summary": self.summary,
            "parameters": [parameter.document() for parameter in self.parameters],
            "security": [{scheme: []} for scheme in self.security],
            "responses": {**self._answers(), "default": _PROBLEM},
        }
        if self.body is not None:
            document["requestBody"] = {"required": True, "content": self.body.document()}
        return document

    def _answers(self) -> dict[str, object]:
        return {
            str(status): {"description": _DESCRIPTIONS[status]}
            | ({} if content is None else {"content": content.document()})
            for status, content in self.answers.items()
        }


_DESCRIPTIONS: Final = {
    200: "As asked.",
    201: "Created; Location says where.",
    204: "Done; nothing to say.",
    206: "The range asked for.",
    304: "Not changed since the ETag given.",
    503: "Not able to take in evidence.",
}
_PROBLEM: Final = {
    "description": "A problem, with a stable code.",
    "content": Content(media_type=PROBLEM_CONTENT_TYPE, struct=Problem).document(),
}


def openapi_document(operations: Iterable[Operation]) -> dict[str, object]:
    """The whole document as plain JSON values. Raises ValueError when two operations have one place or one id."""
    paths: dict[str, dict[str, object]] = {}
    structs: dict[str, type[msgspec.Struct]] = {Problem.__name__: Problem}
    ids: set[str] = set()
    for operation in operations:
        methods = paths.setdefault(operation.path, {})
        if operation.method.lower() in methods or operation.id in ids:
            raise ValueError(f"{operation.method} {operation.path} is described twice")
        methods[operation.method.lower()] = operation.document()
        ids.add(operation.id)
        structs |= {struct.__name__: struct for struct in _structs(operation)}
    _, schemas = msgspec.json.schema_components(structs.values(), ref_template=_REF)
    return {
        "openapi": OPENAPI_VERSION,
        "info": {"title": "执录 zhilu collector", "version": version("zhilu")},
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": _SECURITY_SCHEMES},
    }


def _structs(operation: Operation) -> Iterable[type[msgspec.Struct]]:
    for content in (*operation.answers.values(), operation.body):
        if content is not None and content.struct is not None:
            yield content.struct
