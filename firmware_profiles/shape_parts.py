"""The few forms the profile's schema is made of. Every table refuses unknown keys, every text has a greatest length."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

Schema: TypeAlias = Mapping[str, Any]

MAX_ITEMS: Final = 250
"""Of any list: each item may have to be compared with each other, and tried on each file."""


def text(description: str, *, pattern: str | None = None, max_length: int = 200) -> Schema:
    """``pattern`` is anchored with ^ and $."""
    schema = {"type": "string", "minLength": 1, "maxLength": max_length, "description": description}
    return schema if pattern is None else {**schema, "pattern": pattern}


def whole(description: str, *, minimum: int, maximum: int) -> Schema:
    return {"type": "integer", "minimum": minimum, "maximum": maximum, "description": description}


def truth(description: str) -> Schema:
    return {"type": "boolean", "description": description}


def choice(values: tuple[str, ...], description: str) -> Schema:
    return {**text(description), "enum": list(values)}


def list_of(items: Schema, description: str, *, min_items: int = 0) -> Schema:
    return {
        "type": "array",
        "items": items,
        "minItems": min_items,
        "maxItems": MAX_ITEMS,
        "uniqueItems": True,
        "description": description,
    }


def sequence_of(items: Schema, description: str, *, max_items: int) -> Schema:
    """A list whose members may repeat."""
    return {
        "type": "array",
        "items": items,
        "minItems": 1,
        "maxItems": max_items,
        "description": description,
    }


def table(properties: Mapping[str, Schema], description: str, *, required: tuple[str, ...] = ()) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
        "description": description,
    }
