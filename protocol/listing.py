"""The inventory's listing (清单): one canonical JSON object a line, one line a file, ordered by raw path bytes.

Guarantees: one listing has one byte form, so its digest identifies what was seen; a path that could lead out of
the volume is refused; both directions are streams, so a million rows need the memory of one. A path's bytes are
its identity. ``path`` is for people: control and direction characters in it are the recorder's own, and whoever
displays it must escape them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Self

from protocol.canonical import Fields, canonical
from protocol.digest import Digest
from protocol.errors import LimitError, MalformedError
from protocol.limits import MAX_LISTING_ROWS, MAX_PATH_BYTES
from protocol.lines import decode_base64, encode_base64
from protocol.times import format_time

MAX_ROW_BYTES: Final = 32_768
"""One line. The worst path, 4096 control characters that are not UTF-8, is 24,576 bytes escaped and 5,464 as
base64; the other members take less than 400."""

MAX_SIZE_BYTES: Final = 2**53 - 1
"""Sizes travel as JSON numbers; a file system that states more is written with this one."""

_RULE: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")


class RowState(StrEnum):
    """What happens to a file at this visit (处置): every row is in exactly one of these."""

    TO_READ = "to_read"
    EXCLUDED = "excluded"
    KNOWN = "known"
    UNREADABLE = "unreadable"


def check_raw_path(raw_path: bytes) -> bytes:
    """Return a path that stays inside its volume: relative, ``/`` between non-empty names, no ``.`` or ``..``, no
    NUL, at most ``MAX_PATH_BYTES``. Raises MalformedError or LimitError."""
    if len(raw_path) > MAX_PATH_BYTES:
        raise LimitError(f"a path of {len(raw_path)} bytes, more than {MAX_PATH_BYTES}")
    if b"\0" in raw_path or not {b"", b".", b".."}.isdisjoint(raw_path.split(b"/")):
        raise MalformedError(f"not a path inside a volume: {raw_path[:80]!r}")
    return raw_path


def display_path(raw_path: bytes) -> str:
    """A path as text. Each name alone is UTF-8, else GB18030, else UTF-8 with U+FFFD: a card can hold both."""
    try:
        return raw_path.decode("utf-8")
    except UnicodeDecodeError:
        return "/".join(_display_name(name) for name in raw_path.split(b"/"))


def _display_name(name: bytes) -> str:
    for encoding in ("utf-8", "gb18030"):
        try:
            return name.decode(encoding)
        except UnicodeDecodeError:
            continue
    return name.decode("utf-8", errors="replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListingRow:
    """One file of the inventory. ``path`` is made from ``raw_path`` when left empty.

    ``rule`` names the profile rule that excludes, or the code why the file cannot be read; ``manifest`` is the
    statement of the earlier read of a file that has not changed since. Times are whole milliseconds.
    """

    raw_path: bytes
    size_bytes: int
    modified_at: datetime | None
    state: RowState
    rule: str | None = None
    manifest: Digest | None = None
    path: str = ""

    def __post_init__(self) -> None:
        check_raw_path(self.raw_path)
        if self.path:
            _check_display(self.path, self.raw_path)
        else:
            object.__setattr__(self, "path", display_path(self.raw_path))
        if not 0 <= self.size_bytes <= MAX_SIZE_BYTES:
            raise LimitError(f"a size of {self.size_bytes} bytes is not in 0 to {MAX_SIZE_BYTES}")
        if self.modified_at is not None and self.modified_at.microsecond % 1000:
            raise ValueError("times of a listing are whole milliseconds")
        self._check_state()

    def _check_state(self) -> None:
        needs_rule = self.state in (RowState.EXCLUDED, RowState.UNREADABLE)
        if needs_rule != (self.rule is not None):
            raise MalformedError("excluded and unreadable files name a rule, others do not")
        if self.rule is not None and not _RULE.fullmatch(self.rule):
            raise MalformedError(f"a rule is 1-64 of a-z, 0-9 and inner hyphens, not {self.rule[:80]!r}")
        if (self.state is RowState.KNOWN) != (self.manifest is not None):
            raise MalformedError("known files name their manifest, others do not")

    @classmethod
    def from_bytes(cls, line: bytes) -> Self:
        """One line with its newline. Raises MalformedError or LimitError; only the canonical bytes are accepted."""
        fields = Fields(_parse_row(line), "a listing row")
        path = fields.text("path", max_chars=MAX_PATH_BYTES)
        shown = _utf8(path)
        encoded = fields.optional_text("path_b64", max_chars=2 * MAX_PATH_BYTES)
        row = cls(
            raw_path=shown if encoded is None else decode_base64(encoded, "path_b64"),
            path=path,
            size_bytes=fields.integer("size_bytes"),
            modified_at=fields.optional_time("modified_at"),
            state=RowState(fields.one_of("state", frozenset(RowState))),
            rule=fields.optional_text("rule"),
            manifest=None if fields.raw("manifest") is None else fields.digest("manifest"),
        )
        if row.to_bytes() != line:
            raise MalformedError("a listing row is not in canonical form (RFC 8785), or has unknown members")
        return row

    def to_bytes(self) -> bytes:
        """The RFC 8785 object and a newline. Raises ValueError for a naive time."""
        members: dict[str, object] = {
            "path": self.path,
            "size_bytes": self.size_bytes,
            "modified_at": None if self.modified_at is None else format_time(self.modified_at),
            "state": self.state.value,
        }
        if self.path.encode("utf-8") != self.raw_path:
            members["path_b64"] = encode_base64(self.raw_path)
        if self.rule is not None:
            members["rule"] = self.rule
        if self.manifest is not None:
            members["manifest"] = str(self.manifest)
        return canonical(members) + b"\n"


def _parse_row(line: bytes) -> object:
    """What the line says, read fast and loosely: what is odd in a line, ``to_bytes`` does not write again."""
    if len(line) > MAX_ROW_BYTES:
        raise LimitError(f"a listing row of more than {MAX_ROW_BYTES} bytes")
    try:
        return json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"a listing row is not JSON: {str(error)[:200]}") from error


def _check_display(path: str, raw_path: bytes) -> None:
    """A name that is UTF-8 must be shown as it is: another text would point people to another file. How the others
    are shown is the writer's word, because decoders of GB18030 differ by edition."""
    shown, names = path.split("/"), raw_path.split(b"/")
    if len(shown) != len(names):
        raise MalformedError("the shown path has other levels than the path's bytes")
    for text, name in zip(shown, names, strict=True):
        if text.encode("utf-8") != name and _is_utf8(name):
            raise MalformedError(f"a name is shown as {text[:80]!r} but is {name[:80]!r}")


def _utf8(path: str) -> bytes:
    try:
        return path.encode("utf-8")
    except UnicodeEncodeError as error:
        raise MalformedError("a path with a lone surrogate") from error


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def encode_listing(rows: Iterable[ListingRow]) -> Iterator[bytes]:
    """The lines of a listing. Raises MalformedError when rows are not in strictly rising order of their raw paths,
    LimitError above ``MAX_LISTING_ROWS``."""
    for row in _in_order(rows):
        yield row.to_bytes()


def parse_listing(chunks: Iterable[bytes]) -> Iterator[ListingRow]:
    """The rows of a listing that arrives in chunks of any size. Raises MalformedError or LimitError at the first
    thing wrong; rows given out before that are only good if the whole listing is."""
    return _in_order(ListingRow.from_bytes(line) for line in _lines(chunks))


def _in_order(rows: Iterable[ListingRow]) -> Iterator[ListingRow]:
    previous = b""
    for number, row in enumerate(rows):
        if number >= MAX_LISTING_ROWS:
            raise LimitError(f"a listing of more than {MAX_LISTING_ROWS} rows")
        if row.raw_path <= previous:
            raise MalformedError(f"row {number} repeats or precedes the path before it")
        previous = row.raw_path
        yield row


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *lines, tail = chunk.split(b"\n")
        for line in lines:
            yield rest + line + b"\n"
            rest = b""
        rest += tail
        if len(rest) > MAX_ROW_BYTES:
            raise LimitError(f"a listing row of more than {MAX_ROW_BYTES} bytes")
    if rest:
        raise MalformedError("the last row of a listing does not end with a newline")
