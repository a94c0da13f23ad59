"""What a station states about release (清除放行): what it is about to erase from a recorder, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Final, Protocol, Self

from protocol.canonical import Fields
from protocol.digest import Digest
from protocol.errors import MalformedError
from protocol.ids import parse_random_id
from protocol.limits import MAX_LISTING_ROWS, MAX_TREE_SIZE
from protocol.statements.frame import Frame, Header, Subject

MAX_RELEASE_ITEMS: Final = 200
"""Files of one intent: with the longest numbers an item has 217 bytes, and all must fit into one payload."""

MAX_GENERATION_CHARS: Final = 256
MAX_CODE_CHARS: Final = 64


class _Numbered(Protocol):
    @property
    def row(self) -> int: ...


def _check_rising(items: Sequence[_Numbered], what: str) -> None:
    if len(items) > MAX_RELEASE_ITEMS:
        raise MalformedError(f"{what} are at most {MAX_RELEASE_ITEMS}, not {len(items)}")
    if any(earlier.row >= later.row for earlier, later in pairwise(items)):
        raise MalformedError(f"{what} stand in rising order of their rows, each row once")


def _fields(frame: Frame, name: str) -> list[Fields]:
    items = frame.fields.items(name, max_items=MAX_RELEASE_ITEMS)
    return [Fields(item, f"{frame.kind}.{name}") for item in items]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseItem:
    """One file to erase: its row in the inventory, the manifest that speaks of its bytes, their digest, and the log
    index of the ``stored`` that the verified receipt proves."""

    row: int
    manifest: Digest
    digest: Digest
    stored_index: int

    @classmethod
    def read(cls, fields: Fields) -> Self:
        return cls(
            row=fields.integer("row", maximum=MAX_LISTING_ROWS),
            manifest=fields.digest("manifest"),
            digest=fields.digest("digest"),
            stored_index=fields.integer("stored_index", maximum=MAX_TREE_SIZE),
        )

    def to_json(self) -> dict[str, object]:
        return {
            "row": self.row,
            "manifest": str(self.manifest),
            "digest": str(self.digest),
            "stored_index": self.stored_index,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseIntent:
    """The station is about to erase these files (清除意向). ``inventory`` is the newest inventory of ``visit``, and
    ``generation`` the volume's mount as the station knows it. Nothing is erased before this is in the log."""

    kind: ClassVar[str] = "release-intent"

    header: Header
    visit: str
    inventory: Digest
    generation: str
    items: tuple[ReleaseItem, ...]

    def __post_init__(self) -> None:
        parse_random_id(self.visit, "visit")
        if not self.items:
            raise MalformedError("a release intent names at least one file")
        _check_rising(self.items, "the items of a release intent")

    @property
    def subject(self) -> Subject:
        return Subject("inventory", self.inventory)

    def predicate(self) -> Mapping[str, object]:
        return {
            "visit": self.visit,
            "inventory": str(self.inventory),
            "generation": self.generation,
            "items": [item.to_json() for item in self.items],
        }

    @classmethod
    def read(cls, frame: Frame) -> Self:
        fields = frame.fields
        return cls(
            header=frame.header,
            visit=fields.text("visit"),
            inventory=fields.digest("inventory"),
            generation=fields.text("generation", max_chars=MAX_GENERATION_CHARS),
            items=tuple(ReleaseItem.read(item) for item in _fields(frame, "items")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRow:
    """A file that the intent named and that is still on the recorder, and why (stable code)."""

    row: int
    code: str

    @classmethod
    def read(cls, fields: Fields) -> Self:
        return cls(
            row=fields.integer("row", maximum=MAX_LISTING_ROWS),
            code=fields.text("code", max_chars=MAX_CODE_CHARS),
        )

    def to_json(self) -> dict[str, object]:
        return {"row": self.row, "code": self.code}


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """What became of an intent (已清除): its rows are gone, except those in ``kept``.

    ``inventory_after`` was listed afresh afterwards, in ``visit``, which is a later one than the intent's when the
    erasing was interrupted by an early pull or a crash.
    """

    kind: ClassVar[str] = "released"

    header: Header
    visit: str
    intent: Digest
    inventory_after: Digest
    kept: tuple[KeptRow, ...]

    def __post_init__(self) -> None:
        parse_random_id(self.visit, "visit")
        _check_rising(self.kept, "the kept rows of a release")

    @property
    def subject(self) -> Subject:
        return Subject("release-intent", self.intent)

    def predicate(self) -> Mapping[str, object]:
        return {
            "visit": self.visit,
            "intent": str(self.intent),
            "inventory_after": str(self.inventory_after),
            "kept": [row.to_json() for row in self.kept],
        }

    @classmethod
    def read(cls, frame: Frame) -> Self:
        fields = frame.fields
        return cls(
            header=frame.header,
            visit=fields.text("visit"),
            intent=fields.digest("intent"),
            inventory_after=fields.digest("inventory_after"),
            kept=tuple(KeptRow.read(row) for row in _fields(frame, "kept")),
        )
