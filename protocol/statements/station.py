"""What a station states: the inventory, the manifest, media facts, renditions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final, Self

from protocol.canonical import Fields
from protocol.claims import Claim, TimeClaim
from protocol.digest import Digest
from protocol.errors import MalformedError
from protocol.ids import parse_random_id
from protocol.limits import MAX_LISTING_ROWS, MAX_ORIGINAL_BYTES, MAX_PATH_BYTES
from protocol.lines import decode_base64, encode_base64
from protocol.listing import check_raw_path
from protocol.statements.frame import Frame, Header, Subject
from protocol.times import format_time


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else format_time(moment)


def _claim_json(claim: Claim | TimeClaim | None) -> dict[str, str] | None:
    return None if claim is None else claim.to_json()


def _claim(fields: Fields, name: str) -> Claim | None:
    value = fields.raw(name)
    return None if value is None else Claim.from_json(value)


def _time_claim(fields: Fields, name: str) -> TimeClaim | None:
    value = fields.raw(name)
    return None if value is None else TimeClaim.from_json(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why something could not be done: stable code and one sentence."""

    code: str
    detail: str

    @classmethod
    def read(cls, fields: Fields) -> Self:
        return cls(code=fields.text("code", max_chars=64), detail=fields.text("detail"))

    def to_json(self) -> dict[str, str]:
        return {"code": self.code, "detail": self.detail}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecorderClock:
    """The recorder's clock against the station's (时钟偏差); measured, never applied to an original."""

    offset_ms: int
    uncertainty_ms: int
    method: str

    @classmethod
    def read(cls, fields: Fields) -> Self:
        return cls(
            offset_ms=fields.integer("offset_ms", minimum=-(2**53) + 1),
            uncertainty_ms=fields.integer("uncertainty_ms"),
            method=fields.text("method", max_chars=64),
        )

    def to_json(self) -> dict[str, object]:
        return {
            "offset_ms": self.offset_ms,
            "uncertainty_ms": self.uncertainty_ms,
            "method": self.method,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """Signed list of everything found on the recorder at docking (清点清单).

    ``listing`` is the digest of the listing blob (``protocol.listing``). ``sequence`` counts the inventories of
    one visit from 1: files that appear later on a network drop get a new inventory.
    """

    kind: ClassVar[str] = "inventory"

    header: Header
    listing: Digest
    listing_size_bytes: int
    rows: int
    listed_bytes: int
    visit: str
    sequence: int
    dock: str
    bay: str
    profile: str
    volume_label: str | None
    total_bytes: int | None
    free_bytes: int | None
    battery_percent: int | None
    recorder: Claim | None
    officer: Claim | None
    clock: RecorderClock | None

    def __post_init__(self) -> None:
        parse_random_id(self.visit, "visit")

    @property
    def subject(self) -> Subject:
        return Subject("listing", self.listing)

    def predicate(self) -> Mapping[str, object]:
        return {
            "listing_size_bytes": self.listing_size_bytes,
            "rows": self.rows,
            "listed_bytes": self.listed_bytes,
            "visit": self.visit,
            "sequence": self.sequence,
            "dock": self.dock,
            "bay": self.bay,
            "profile": self.profile,
            "volume_label": self.volume_label,
            "total_bytes": self.total_bytes,
            "free_bytes": self.free_bytes,
            "battery_percent": self.battery_percent,
            "recorder": _claim_json(self.recorder),
            "officer": _claim_json(self.officer),
            "clock": None if self.clock is None else self.clock.to_json(),
        }

    @classmethod
    def read(cls, frame: Frame) -> Self:
        fields = frame.fields
        return cls(
            header=frame.header,
            listing=frame.subject.digest,
            listing_size_bytes=fields.integer("listing_size_bytes", maximum=MAX_ORIGINAL_BYTES),
            rows=fields.integer("rows", maximum=MAX_LISTING_ROWS),
            listed_bytes=fields.integer("listed_bytes"),
            visit=fields.text("visit"),
            sequence=fields.integer("sequence", minimum=1),
            dock=fields.text("dock"),
            bay=fields.text("bay"),
            profile=fields.text("profile"),
            volume_label=fields.optional_text("volume_label"),
            total_bytes=fields.optional_integer("total_bytes"),
            free_bytes=fields.optional_integer("free_bytes"),
            battery_percent=fields.optional_integer("battery_percent", maximum=100),
            recorder=_claim(fields, "recorder"),
            officer=_claim(fields, "officer"),
            clock=None if fields.raw("clock") is None else RecorderClock.read(fields.object("clock")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Signed statement about one original (原始文件清单): digest, size, where and how it was read.

    ``row`` is the zero-based row of the inventory's listing. ``path_bytes`` are the recorder's own bytes;
    the subject's name is their display form. A path that could lead out of its volume is refused, because exports may
    use it as one. ``resumed`` says that the read continued after an interruption.
    """

    kind: ClassVar[str] = "manifest"

    header: Header
    digest: Digest
    size_bytes: int
    inventory: Digest
    visit: str
    row: int
    path: str
    path_bytes: bytes
    media_type: str
    modified_at: datetime | None
    recorder: Claim | None
    officer: Claim | None
    started_at: TimeClaim | None
    marked: bool
    read_started_at: datetime
    read_finished_at: datetime
    attempts: int
    resumed: bool

    def __post_init__(self) -> None:
        parse_random_id(self.visit, "visit")
        check_raw_path(self.path_bytes)

    @property
    def subject(self) -> Subject:
        return Subject(self.path, self.digest)

    def predicate(self) -> Mapping[str, object]:
        return {
            "size_bytes": self.size_bytes,
            "inventory": str(self.inventory),
            "visit": self.visit,
            "row": self.row,
            "path_b64": encode_base64(self.path_bytes),
            "media_type": self.media_type,
            "modified_at": _time(self.modified_at),
            "recorder": _claim_json(self.recorder),
            "officer": _claim_json(self.officer),
            "started_at": _claim_json(self.started_at),
            "marked": self.marked,
            "read_started_at": format_time(self.read_started_at),
            "read_finished_at": format_time(self.read_finished_at),
            "attempts": self.attempts,
            "resumed": self.resumed,
        }

    @classmethod
    def read(cls, frame: Frame) -> Self:
        fields = frame.fields
        return cls(
            header=frame.header,
            digest=frame.subject.digest,
            size_bytes=fields.integer("size_bytes", maximum=MAX_ORIGINAL_BYTES),
            inventory=fields.digest("inventory"),
            visit=fields.text("visit"),
            row=fields.integer("row", maximum=MAX_LISTING_ROWS),
            path=frame.subject.name,
            path_bytes=decode_base64(fields.text("path_b64", max_chars=2 * MAX_PATH_BYTES), "path_b64"),
            media_type=fields.text("media_type", max_chars=100),
            modified_at=fields.optional_time("modified_at"),
            recorder=_claim(fields, "recorder"),
            officer=_claim(fields, "officer"),
            started_at=_time_claim(fields, "started_at"),
            marked=fields.boolean("marked"),
            read_started_at=fields.time("read_started_at"),
            read_finished_at=fields.time("read_finished_at"),
            attempts=fields.integer("attempts", minimum=1),
            resumed=fields.boolean("resumed"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """Media facts (媒体信息) of one original: what a probe read from it. ``facts`` is null when it could not."""

    kind: ClassVar[str] = "media"

    header: Header
    original: Digest
    manifest: Digest
    media_type: str
    duration_ms: int | None
    started_at: TimeClaim | None
    recorder: Claim | None
    facts: Mapping[str, object] | None
    problem: Problem | None

    def __post_init__(self) -> None:
        if (self.facts is None) == (self.problem is None):
            raise MalformedError("media facts or the reason why there are none, exactly one of the two")

    @property
    def subject(self) -> Subject:
        return Subject("original", self.original)

    def predicate(self) -> Mapping[str, object]:
        return {
            "manifest": str(self.manifest),
            "media_type": self.media_type,
            "duration_ms": self.duration_ms,
            "started_at": _claim_json(self.started_at),
            "recorder": _claim_json(self.recorder),
            "facts": self.facts,
            "problem": None if self.problem is None else self.problem.to_json(),
        }

    @classmethod
    def read(cls, frame: Frame) -> Self:
        fields = frame.fields
        facts = fields.raw("facts")
        if facts is not None and not isinstance(facts, dict):
            raise MalformedError("media facts must be an object or null")
        return cls(
            header=frame.header,
            original=frame.subject.digest,
            manifest=fields.digest("manifest"),
            media_type=fields.text("media_type", max_chars=100),
            duration_ms=fields.optional_integer("duration_ms"),
            started_at=_time_claim(fields, "started_at"),
            recorder=_claim(fields, "recorder"),
            facts=facts,
            problem=None if fields.raw("problem") is None else Problem.read(fields.object("problem")),
        )


RENDITION_KINDS: Final = frozenset({"playable", "poster", "thumbnail"})
METHODS: Final = frozenset({"remux", "transcode", "extract"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A rendition that was made: its digest and the recipe to make it again."""

    digest: Digest
    size_bytes: int
    media_type: str
    method: str
    tool: str
    tool_version: str
    arguments: tuple[str, ...]

    @classmethod
    def read(cls, digest: Digest, fields: Fields) -> Self:
        arguments = fields.items("arguments", max_items=256)
        if not all(isinstance(argument, str) for argument in arguments):
            raise MalformedError("recipe arguments are texts")
        return cls(
            digest=digest,
            size_bytes=fields.integer("size_bytes", maximum=MAX_ORIGINAL_BYTES),
            media_type=fields.text("media_type", max_chars=100),
            method=fields.one_of("method", METHODS),
            tool=fields.text("tool", max_chars=64),
            tool_version=fields.text("tool_version"),
            arguments=tuple(str(argument) for argument in arguments),
        )

    def to_json(self) -> dict[str, object]:
        return {
            "size_bytes": self.size_bytes,
            "media_type": self.media_type,
            "method": self.method,
            "tool": self.tool,
            "tool_version": self.tool_version,
            "arguments": list(self.arguments),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendition:
    """A rendition (派生文件) of an original, or why there is none. Never a substitute for the original."""

    kind: ClassVar[str] = "rendition"

    header: Header
    original: Digest
    manifest: Digest
    rendition: str
    rendered: Rendered | None
    problem: Problem | None

    def __post_init__(self) -> None:
        if (self.rendered is None) == (self.problem is None):
            raise MalformedError("a rendition or the reason why there is none, exactly one of the two")

    @property
    def subject(self) -> Subject:
        if self.rendered is None:
            return Subject("original", self.original)
        return Subject("rendition", self.rendered.digest)

    def predicate(self) -> Mapping[str, object]:
        return {
            "original": str(self.original),
            "manifest": str(self.manifest),
            "rendition": self.rendition,
            "rendered": None if self.rendered is None else self.rendered.to_json(),
            "problem": None if self.problem is None else self.problem.to_json(),
        }

    @classmethod
    def read(cls, frame: Frame) -> Self:
        fields = frame.fields
        return cls(
            header=frame.header,
            original=fields.digest("original"),
            manifest=fields.digest("manifest"),
            rendition=fields.one_of("rendition", RENDITION_KINDS),
            rendered=(
                None
                if fields.raw("rendered") is None
                else Rendered.read(frame.subject.digest, fields.object("rendered"))
            ),
            problem=None if fields.raw("problem") is None else Problem.read(fields.object("problem")),
        )
