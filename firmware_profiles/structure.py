"""Checks a value against the part of JSON Schema (2020-12) that the profile's schema uses.

The published schema is thereby the rule itself and cannot drift from the code. Errors name the path of the key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from firmware_profiles.errors import ProfileMalformedError

_SHOWN_CHARS: Final = 80
_SHOWN_BITS: Final = 64

_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "boolean": (bool,),
}


def check_structure(value: object, schema: Mapping[str, Any], key: str = "") -> None:
    """Raises ProfileMalformedError at the first thing that is not as ``schema`` says."""
    for fault in find_faults(value, schema, key):
        raise fault


def find_faults(value: object, schema: Mapping[str, Any], key: str = "") -> Iterator[ProfileMalformedError]:
    """Everything that is not as ``schema`` says, in the order in which it is met."""
    wanted = schema["type"]
    if not isinstance(value, _TYPES[wanted]) or (wanted == "integer" and isinstance(value, bool)):
        yield ProfileMalformedError(key, f"must be of type {wanted}, not {type(value).__name__}")
    elif "const" in schema and value != schema["const"]:
        yield ProfileMalformedError(key, f"must be {schema['const']!r}")
    elif "enum" in schema and value not in schema["enum"]:
        yield ProfileMalformedError(key, f"must be one of {', '.join(schema['enum'])}, not {_cut(value)}")
    elif (check := _CHECKS.get(wanted)) is not None:
        yield from check(value, schema, key)


def _check_object(
    value: dict[str, object], schema: Mapping[str, Any], key: str
) -> Iterator[ProfileMalformedError]:
    known = schema["properties"]
    for name in value:
        if name not in known:
            yield ProfileMalformedError(_below(key, name), f"is not known here; known are {', '.join(known)}")
    for name in schema.get("required", ()):
        if name not in value:
            yield ProfileMalformedError(_below(key, name), "is missing")
    for name, member in value.items():
        if name in known:
            yield from find_faults(member, known[name], _below(key, name))


def _check_array(value: list[object], schema: Mapping[str, Any], key: str) -> Iterator[ProfileMalformedError]:
    if len(value) < schema.get("minItems", 0):
        yield ProfileMalformedError(key, f"must have at least {schema['minItems']} items")
    if len(value) > schema["maxItems"]:
        yield ProfileMalformedError(key, f"must have at most {schema['maxItems']} items")
        return
    for number, item in enumerate(value):
        yield from find_faults(item, schema["items"], f"{key}[{number}]")
    if schema.get("uniqueItems") and any(item in value[:number] for number, item in enumerate(value)):
        yield ProfileMalformedError(key, "names something twice")


def _check_string(value: str, schema: Mapping[str, Any], key: str) -> Iterator[ProfileMalformedError]:
    if len(value) < schema.get("minLength", 0) or len(value) > schema["maxLength"]:
        yield ProfileMalformedError(
            key, f"must have {schema.get('minLength', 0)} to {schema['maxLength']} characters"
        )
        return
    # The schema's patterns are anchored with ^ and $; fullmatch avoids Python's $ before a last newline.
    pattern = schema.get("pattern")
    if pattern is not None and not re.fullmatch(pattern[1:-1], value):
        yield ProfileMalformedError(key, f"must match {pattern}, not {_cut(value)}")


def _check_integer(value: int, schema: Mapping[str, Any], key: str) -> Iterator[ProfileMalformedError]:
    if not schema["minimum"] <= value <= schema["maximum"]:
        yield ProfileMalformedError(
            key, f"must be from {schema['minimum']} to {schema['maximum']}, not {_cut(value)}"
        )


def _cut(value: object) -> str:
    """What was given, as far as it helps to find it."""
    if isinstance(value, int) and value.bit_length() > _SHOWN_BITS:  # Python refuses to write out the largest
        return "a very large number"
    return repr(value)[:_SHOWN_CHARS]


def _below(key: str, name: str) -> str:
    name = name[:_SHOWN_CHARS]
    return f"{key}.{name}" if key else name


_CHECKS: Final[Mapping[str, Callable[[Any, Mapping[str, Any], str], Iterator[ProfileMalformedError]]]] = {
    "object": _check_object,
    "array": _check_array,
    "string": _check_string,
    "integer": _check_integer,
}
