"""Checks a value against the part of JSON Schema (2020-12) that the profile's schema uses.

The published schema is thereby the rule itself and cannot drift from the code. Errors name the path of the key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from firmware_profiles.errors import ProfileMalformedError

_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "boolean": (bool,),
}


def check_structure(value: object, schema: Mapping[str, Any], key: str = "") -> None:
    """Raises ProfileMalformedError at the first thing that is not as ``schema`` says."""
    wanted = schema["type"]
    if not isinstance(value, _TYPES[wanted]) or (wanted == "integer" and isinstance(value, bool)):
        raise ProfileMalformedError(key, f"must be of type {wanted}, not {type(value).__name__}")
    if "const" in schema and value != schema["const"]:
        raise ProfileMalformedError(key, f"must be {schema['const']!r}")
    if "enum" in schema and value not in schema["enum"]:
        raise ProfileMalformedError(key, f"must be one of {', '.join(schema['enum'])}, not {value!r}")
    check = _CHECKS.get(wanted)
    if check is not None:
        check(value, schema, key)


def _check_object(value: dict[str, object], schema: Mapping[str, Any], key: str) -> None:
    known = schema["properties"]
    for name in value:
        if name not in known:
            raise ProfileMalformedError(_below(key, name), f"is not known here; known are {', '.join(known)}")
    for name in schema.get("required", ()):
        if name not in value:
            raise ProfileMalformedError(_below(key, name), "is missing")
    for name, member in value.items():
        check_structure(member, known[name], _below(key, name))


def _check_array(value: list[object], schema: Mapping[str, Any], key: str) -> None:
    if len(value) < schema.get("minItems", 0):
        raise ProfileMalformedError(key, f"must have at least {schema['minItems']} items")
    if len(value) > schema["maxItems"]:
        raise ProfileMalformedError(key, f"must have at most {schema['maxItems']} items")
    for number, item in enumerate(value):
        check_structure(item, schema["items"], f"{key}[{number}]")
    if schema.get("uniqueItems") and any(item in value[:number] for number, item in enumerate(value)):
        raise ProfileMalformedError(key, "names something twice")


def _check_string(value: str, schema: Mapping[str, Any], key: str) -> None:
    if len(value) < schema.get("minLength", 0) or len(value) > schema["maxLength"]:
        raise ProfileMalformedError(
            key, f"must have {schema.get('minLength', 0)} to {schema['maxLength']} characters"
        )
    # The schema's patterns are anchored with ^ and $; fullmatch avoids Python's $ before a last newline.
    pattern = schema.get("pattern")
    if pattern is not None and not re.fullmatch(pattern[1:-1], value):
        raise ProfileMalformedError(key, f"must match {pattern}, not {value[:80]!r}")


def _check_integer(value: int, schema: Mapping[str, Any], key: str) -> None:
    if not schema["minimum"] <= value <= schema["maximum"]:
        raise ProfileMalformedError(
            key, f"must be from {schema['minimum']} to {schema['maximum']}, not {value}"
        )


def _below(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


_CHECKS: Final[Mapping[str, Callable[[Any, Mapping[str, Any], str], None]]] = {
    "object": _check_object,
    "array": _check_array,
    "string": _check_string,
    "integer": _check_integer,
}
