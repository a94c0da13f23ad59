"""One byte form per object, and strict reading of JSON from outside.

Writing is RFC 8785 (JCS). Reading refuses what honest readers disagree on: duplicate names, NaN and infinities,
integers beyond 2**53-1, lone surrogates, bytes that are not UTF-8, nesting beyond ``MAX_JSON_DEPTH``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any, Final, TypeAlias, TypeVar

import rfc8785

from protocol.digest import Digest
from protocol.errors import LimitError, MalformedError, UnknownCriticalError
from protocol.limits import MAX_JSON_DEPTH, MAX_TEXT_CHARS
from protocol.lines import decode_base64
from protocol.times import parse_time

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

_MAX_INT: Final = 2**53 - 1
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_T = TypeVar("_T")


def canonical(value: object) -> bytes:
    """RFC 8785 bytes of a JSON value. Raises MalformedError for what JSON cannot say."""
    if _is_plain(value):
        return _PLAIN.encode(value).encode()
    try:
        return rfc8785.dumps(value)  # type: ignore[arg-type]
    except rfc8785.CanonicalizationError as error:
        raise MalformedError(f"not canonicalisable: {error}") from error
    except UnicodeEncodeError as error:
        raise MalformedError("text with a lone surrogate") from error


def parse_json(data: bytes, *, max_bytes: int, what: str) -> Json:
    """Strictly parse one JSON value of at most ``max_bytes``. Raises MalformedError or LimitError."""
    if len(data) > max_bytes:
        raise LimitError(f"{what} has {len(data)} bytes, more than {max_bytes}")
    try:
        value: Json = _DECODER.decode(data.decode("utf-8"))
    except RecursionError as error:
        raise LimitError(f"{what} is nested deeper than {MAX_JSON_DEPTH} levels") from error
    except ValueError as error:
        raise MalformedError(f"{what} is not JSON: {str(error)[:200]}") from error
    if data.count(b"{") + data.count(b"[") > MAX_JSON_DEPTH:
        _check_depth(value, what)
    if b"\\u" in data:  # UTF-8 has no surrogates: they come in as escapes
        _check_texts(value, what)
    return value


def parse_canonical(data: bytes, *, max_bytes: int, what: str) -> Json:
    """As ``parse_json``, and the bytes must be the canonical ones: a second spelling would be a second digest."""
    value = parse_json(data, max_bytes=max_bytes, what=what)
    if canonical(value) != data:
        raise MalformedError(f"{what} is not in canonical form (RFC 8785)")
    return value


_PLAIN: Final = json.JSONEncoder(
    sort_keys=True, ensure_ascii=False, separators=(",", ":"), check_circular=False
)
"""Writes a plain value as RFC 8785 does, five times as fast: the two differ in numbers with a fraction, in the order
of names beyond the Basic Multilingual Plane, and in what they do with values that are not JSON."""


def _is_plain(root: object) -> bool:
    """Whether nothing is in the tree in which the fast writer and RFC 8785 could differ. Names are ASCII then."""
    todo: list[object] = [root]
    for value in todo:
        if isinstance(value, str):
            if not value.isascii() and _SURROGATE.search(value):
                return False
        elif isinstance(value, dict):
            if not all(isinstance(name, str) and name.isascii() for name in value):
                return False
            todo.extend(value.values())
        elif isinstance(value, list):
            todo.extend(value)
        elif isinstance(value, int):
            if not -_MAX_INT <= value <= _MAX_INT:
                return False
        elif value is not None:
            return False
    return True


def _object_without_duplicates(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object names a member twice")
    return found


def _no_constant(name: str) -> Json:
    raise ValueError(f"{name} is not JSON")


def _exact_integer(digits: str) -> int:
    number = int(digits)
    if abs(number) > _MAX_INT:
        raise ValueError("an integer beyond 2**53-1")
    return number


def _finite_number(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number too large to represent")
    return number


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object_without_duplicates,
    parse_constant=_no_constant,
    parse_int=_exact_integer,
    parse_float=_finite_number,
)


def _check_depth(root: Json, what: str) -> None:
    level: list[Json] = [root]
    for _ in range(MAX_JSON_DEPTH):
        level = [inner for value in level for inner in _inside(value) if isinstance(inner, dict | list)]
    if level:
        raise LimitError(f"{what} is nested deeper than {MAX_JSON_DEPTH} levels")


def _inside(value: Json) -> Collection[Json]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _check_texts(root: Json, what: str) -> None:
    todo = [root]
    for value in todo:
        if isinstance(value, dict):
            todo.extend(value)
        todo.extend(_inside(value))
        if isinstance(value, str) and _SURROGATE.search(value):
            raise MalformedError(f"{what} has a lone surrogate")


class Fields:
    """Typed access to the members of a JSON object, with errors that name the member.

    Members nobody asks for are tolerated: a later version may add some. What may not be overlooked is listed in
    the object's ``critical`` member; ``check_critical`` refuses names this version does not read.
    """

    def __init__(self, value: object, what: str) -> None:
        if not isinstance(value, dict):
            raise MalformedError(f"{what} must be an object")
        self._members: Mapping[str, Any] = value
        self._what = what
        self._read: set[str] = {"critical"}

    def _get(self, name: str) -> Any:
        self._read.add(name)
        return self._members.get(name)

    def _fail(self, name: str, expected: str) -> MalformedError:
        return MalformedError(f"{self._what}: {name} must be {expected}")

    def _parsed(self, name: str, parse: Callable[[str], _T]) -> _T:
        text = self.text(name)
        try:
            return parse(text)
        except MalformedError as error:
            raise MalformedError(f"{self._what}: {name}: {error}") from error

    def raw(self, name: str) -> object:
        """The member as parsed, None where absent."""
        value: object = self._get(name)
        return value

    def text(self, name: str, *, max_chars: int = MAX_TEXT_CHARS) -> str:
        value = self._get(name)
        if not isinstance(value, str) or not 0 < len(value) <= max_chars:
            raise self._fail(name, f"a text of 1 to {max_chars} characters")
        return value

    def optional_text(self, name: str, *, max_chars: int = MAX_TEXT_CHARS) -> str | None:
        return None if self._get(name) is None else self.text(name, max_chars=max_chars)

    def one_of(self, name: str, allowed: frozenset[str]) -> str:
        value = self._get(name)
        if not isinstance(value, str) or value not in allowed:
            raise self._fail(name, "one of " + ", ".join(sorted(allowed)))
        return value

    def integer(self, name: str, *, minimum: int = 0, maximum: int = _MAX_INT) -> int:
        value = self._get(name)
        if type(value) is not int or not minimum <= value <= maximum:
            raise self._fail(name, f"an integer from {minimum} to {maximum}")
        return value

    def optional_integer(self, name: str, *, minimum: int = 0, maximum: int = _MAX_INT) -> int | None:
        return None if self._get(name) is None else self.integer(name, minimum=minimum, maximum=maximum)

    def boolean(self, name: str) -> bool:
        value = self._get(name)
        if type(value) is not bool:
            raise self._fail(name, "true or false")
        return value

    def digest(self, name: str) -> Digest:
        return self._parsed(name, Digest.parse)

    def time(self, name: str) -> datetime:
        return self._parsed(name, parse_time)

    def optional_time(self, name: str) -> datetime | None:
        return None if self._get(name) is None else self.time(name)

    def items(self, name: str, *, max_items: int) -> list[object]:
        value = self._get(name)
        if not isinstance(value, list) or len(value) > max_items:
            raise self._fail(name, f"a list of at most {max_items} items")
        return value

    def object(self, name: str) -> Fields:
        return Fields(self._get(name), f"{self._what}.{name}")

    def binary(self, name: str, *, max_bytes: int) -> bytes:
        """Standard base64 with padding, and only its canonical spelling."""
        return decode_base64(self.text(name, max_chars=4 * max_bytes // 3 + 8), f"{self._what}.{name}")

    def check_critical(self) -> None:
        """Call after every known member was asked for. Raises UnknownCriticalError."""
        critical = self._members.get("critical", [])
        if not isinstance(critical, list) or not all(isinstance(name, str) for name in critical):
            raise self._fail("critical", "a list of member names")
        unknown = sorted(set(critical) - self._read)
        if unknown:
            raise UnknownCriticalError(
                f"{self._what} marks as critical what is not known here: {unknown[:5]}"
            )

    def only(self, names: frozenset[str]) -> None:
        """For closed objects. Raises MalformedError when there are other or fewer members."""
        if set(self._members) != names:
            raise MalformedError(f"{self._what} must have exactly the members {sorted(names)}")
