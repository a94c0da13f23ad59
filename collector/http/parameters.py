"""Query parameters, strictly: what is not known, repeated or not of its form is refused, never ignored.

A filter somebody mistyped must not silently become a longer list.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime
from typing import Final, TypeVar

from aiohttp import web

from collector.catalogue import MAX_PAGE
from collector.catalogue.errors import ParameterError
from collector.database.columns import MAX_NAME_CHARS
from protocol.digest import Digest
from protocol.errors import ProtocolError
from protocol.ids import parse_name, parse_random_id
from protocol.limits import MAX_TREE_SIZE
from protocol.lines import check_line, parse_decimal

DEFAULT_PAGE: Final = 100

_T = TypeVar("_T")

_RFC3339: Final = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(?:\.\d{1,6})?(?:[Zz]|[+-]\d{2}:\d{2})")


class Parameters:
    """The query of one request. Methods return None where the parameter is absent and raise ParameterError."""

    def __init__(self, request: web.Request, known: Collection[str]) -> None:
        for name in request.query:
            if name not in known:
                raise ParameterError(
                    f"there is no parameter {name[:40]!r} here; known are {', '.join(sorted(known))}"
                )
            if len(request.query.getall(name)) > 1:
                raise ParameterError(f"{name} is given twice")
        self._values = request.query

    def name(self, name: str) -> str | None:
        """A recorder or officer number."""
        text = self._values.get(name)
        if text is None:
            return None
        if len(text) > MAX_NAME_CHARS:
            raise ParameterError(f"{name} has at most {MAX_NAME_CHARS} characters")
        return _refusing(name, lambda: check_line(text, name))

    def agency(self, name: str) -> str | None:
        text = self._values.get(name)
        return None if text is None else _refusing(name, lambda: parse_name(text, name))

    def visit(self, name: str) -> str | None:
        text = self._values.get(name)
        return None if text is None else parse_visit(text)

    def one_of(self, name: str, known: Collection[str]) -> str | None:
        text = self._values.get(name)
        if text is not None and text not in known:
            raise ParameterError(f"{name} is one of {', '.join(sorted(known))}")
        return text

    def digest(self, name: str) -> Digest | None:
        text = self._values.get(name)
        return None if text is None else parse_digest(text, name)

    def time(self, name: str) -> datetime | None:
        """RFC 3339 with any offset; a plus sign in a URL is written %2B."""
        text = self._values.get(name)
        if text is None:
            return None
        try:
            if _RFC3339.fullmatch(text):
                return datetime.fromisoformat(text.upper()).astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise ParameterError(f"{name}: no such time") from error
        raise ParameterError(f"{name} is a time of RFC 3339 with its offset, such as 2026-01-31T08:15:30Z")

    def boolean(self, name: str) -> bool | None:
        text = self._values.get(name)
        if text not in (None, "true", "false"):
            raise ParameterError(f"{name} is true or false")
        return None if text is None else text == "true"

    def limit(self) -> int:
        """Rows of a page, ``DEFAULT_PAGE`` where absent."""
        limit = self.number("limit", MAX_PAGE)
        if limit == 0:
            raise ParameterError("limit is 1 at least")
        return DEFAULT_PAGE if limit is None else limit

    def number(self, name: str, maximum: int = MAX_TREE_SIZE) -> int | None:
        text = self._values.get(name)
        return None if text is None else _refusing(name, lambda: parse_decimal(text, name, maximum))

    def items(self) -> Iterable[tuple[str, str]]:
        """Everything given, as given."""
        return self._values.items()

    def text(self, name: str) -> str | None:
        """As given, for whoever judges it."""
        return self._values.get(name)


def parse_digest(text: str, what: str) -> Digest:
    """Raises ParameterError."""
    return _refusing(what, lambda: Digest.parse(text))


def parse_visit(text: str) -> str:
    """Raises ParameterError."""
    return _refusing("visit", lambda: parse_random_id(text, "visit"))


def _refusing(name: str, parse: Callable[[], _T]) -> _T:
    try:
        return parse()
    except ProtocolError as error:
        raise ParameterError(f"{name}: {error}") from error
