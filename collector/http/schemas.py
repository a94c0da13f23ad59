"""What the query API answers, as msgspec structs: encoded from here, and described from here in the OpenAPI
document. Digests are texts ``sha256:<hex>``, times RFC 3339 in UTC, unknown values null.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from collector import catalogue
from collector.core import findings
from collector.core.explanations import EXPLAINED, Word
from protocol.claims import Claim as ClaimedValue
from protocol.claims import TimeClaim
from protocol.digest import Digest
from protocol.limits import MAX_TEXT_CHARS
from protocol.times import format_time

Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
"""As everywhere in the protocol: UTC, three decimals, ``Z``."""


class Claim(Struct, frozen=True, kw_only=True):
    """A value and who or what says so: a file name, the container, EXIF …"""

    value: str
    source: str

    @classmethod
    def of(cls, claim: ClaimedValue | None) -> Claim | None:
        return None if claim is None else cls(value=claim.value, source=claim.source)


class ClaimedTime(Struct, frozen=True, kw_only=True):
    """A time and who or what says so. It is the recorder's clock, not corrected."""

    value: Time
    source: str

    @classmethod
    def of(cls, claim: TimeClaim | None) -> ClaimedTime | None:
        return None if claim is None else cls(value=format_time(claim.value), source=claim.source)


class Rendition(Struct, frozen=True, kw_only=True):
    """A derived file, never a substitute for the original; or the code why there is none."""

    rendition: str
    statement: str
    log_index: int
    digest: str | None
    size_bytes: int | None
    media_type: str | None
    method: str | None
    problem: str | None
    stored: bool

    @classmethod
    def of(cls, rendition: catalogue.ClipRendition) -> Rendition:
        return cls(
            rendition=rendition.rendition,
            statement=str(rendition.statement),
            log_index=rendition.entry_index,
            digest=_text(rendition.digest),
            size_bytes=rendition.size_bytes,
            media_type=rendition.media_type,
            method=rendition.method,
            problem=rendition.problem,
            stored=rendition.stored_index is not None,
        )


class Clip(Struct, frozen=True, kw_only=True):
    """One original: what its manifest and its media facts say. ``name`` is the path on the recorder, for display;
    it can hold any character. ``stored_index`` is the place in the log where the bytes were said to be stored.
    ``on_recorder``: still there as far as is known, erased by the station's word, or gone without one."""

    manifest: str
    log_index: int
    agency: str
    station: str
    visit: str
    inventory: str
    row: int
    name: str
    digest: str
    size_bytes: int
    media_type: str
    recorder: Claim | None
    officer: Claim | None
    started_at: ClaimedTime | None
    duration_ms: int | None
    marked: bool
    read_started_at: Time
    read_finished_at: Time
    stored_index: int | None
    stored_at: Time | None
    on_recorder: Literal["present", "released", "gone"]
    renditions: list[Rendition]

    @classmethod
    def of(cls, clip: catalogue.Clip) -> Clip:
        return cls(
            manifest=str(clip.manifest),
            log_index=clip.entry_index,
            agency=clip.agency,
            station=clip.station,
            visit=clip.visit,
            inventory=str(clip.inventory),
            row=clip.row,
            name=clip.path,
            digest=str(clip.digest),
            size_bytes=clip.size_bytes,
            media_type=clip.media_type,
            recorder=Claim.of(clip.recorder),
            officer=Claim.of(clip.officer),
            started_at=ClaimedTime.of(clip.started_at),
            duration_ms=clip.duration_ms,
            marked=clip.marked,
            read_started_at=format_time(clip.read_started_at),
            read_finished_at=format_time(clip.read_finished_at),
            stored_index=clip.stored_index,
            stored_at=_time(clip.stored_at),
            on_recorder=clip.presence.value,
            renditions=[Rendition.of(rendition) for rendition in clip.renditions],
        )


class ClipPage(Struct, frozen=True, kw_only=True):
    """Clips, newest start first, those of unknown start last. ``next_cursor`` leads on; null at the end."""

    clips: list[Clip]
    next_cursor: str | None


class Accounting(Struct, frozen=True, kw_only=True):
    """Files by state: ``listed`` is the sum of stored, pending, unreadable and excluded, and also of present, released
    (erased by the station's word) and gone (without one). A ``deficit`` is an alarm: rows declared and not listed."""

    listed: int
    stored: int
    pending: int
    unreadable: int
    excluded: int
    present: int
    released: int
    gone: int
    deficit: int

    @classmethod
    def of(cls, accounting: catalogue.Accounting) -> Accounting:
        return cls(
            listed=accounting.listed,
            stored=accounting.stored,
            pending=accounting.pending,
            unreadable=accounting.unreadable,
            excluded=accounting.excluded,
            present=accounting.present,
            released=accounting.released,
            gone=accounting.gone,
            deficit=accounting.deficit,
        )


class Reason(Struct, frozen=True, kw_only=True):
    """How many files are excluded by this rule, or unreadable for this reason."""

    state: str
    code: str
    files: int


class Inventory(Struct, frozen=True, kw_only=True):
    """One signed list of a recorder's files, and where they are."""

    inventory: str
    log_index: int
    agency: str
    station: str
    sequence: int
    issued_at: Time
    dock: str
    bay: str
    profile: str
    recorder: str | None
    officer: str | None
    clock_offset_ms: int | None
    declared_rows: int
    listing: Literal["awaited", "listed", "unusable"]
    listing_problem: str | None
    accounting: Accounting
    reasons: list[Reason]

    @classmethod
    def of(cls, account: catalogue.InventoryAccount) -> Inventory:
        return cls(
            inventory=str(account.statement),
            log_index=account.entry_index,
            agency=account.agency,
            station=account.station,
            sequence=account.sequence,
            issued_at=format_time(account.issued_at),
            dock=account.dock,
            bay=account.bay,
            profile=account.profile,
            recorder=account.recorder,
            officer=account.officer,
            clock_offset_ms=account.clock_offset_ms,
            declared_rows=account.declared_rows,
            listing=account.listing,
            listing_problem=account.listing_problem,
            accounting=Accounting.of(account.accounting),
            reasons=[
                Reason(state=reason.state.value, code=reason.code, files=reason.files)
                for reason in account.reasons
            ],
        )


class Visit(Struct, frozen=True, kw_only=True):
    """All inventories of one stay of a recorder at a bay. A file listed in two of them counts in both."""

    visit: str
    accounting: Accounting
    inventories: list[Inventory]

    @classmethod
    def of(cls, visit: catalogue.VisitAccount) -> Visit:
        return cls(
            visit=visit.visit,
            accounting=Accounting.of(visit.accounting),
            inventories=[Inventory.of(inventory) for inventory in visit.inventories],
        )


class CustodyEvent(Struct, frozen=True, kw_only=True):
    """Who did what to the item, when."""

    statement: str
    log_index: int
    agency: str
    event: str
    item: str
    item_name: str
    actor: str
    details: dict[str, str | int]
    issued_at: Time

    @classmethod
    def of(cls, event: catalogue.CustodyEvent) -> CustodyEvent:
        return cls(
            statement=str(event.statement),
            log_index=event.entry_index,
            agency=event.agency,
            event=event.event,
            item=str(event.item),
            item_name=event.item_name,
            actor=event.actor,
            details=dict(event.details),
            issued_at=format_time(event.issued_at),
        )


class CustodyPage(Struct, frozen=True, kw_only=True):
    """Events in log order. ``next_after`` is the ``after`` of the next page; null at the end."""

    events: list[CustodyEvent]
    next_after: int | None


class Sentence(Struct, frozen=True, kw_only=True):
    """The same in Chinese and English."""

    zh: str
    en: str

    @classmethod
    def of(cls, sentence: findings.Sentence) -> Sentence:
        return cls(zh=sentence.zh, en=sentence.en)


class Wish(Struct, frozen=True, kw_only=True):
    """Why a finding is as it is, or why what was said of it no longer holds: one line."""

    reason: Annotated[str, Meta(min_length=1, max_length=MAX_TEXT_CHARS)]


class Explanation(Struct, frozen=True, kw_only=True):
    """A custody event about a finding. ``actor`` is whom the token was issued to."""

    event: Literal["explained", "explanation-withdrawn"]
    statement: str
    log_index: int
    actor: str
    reason: str
    said_at: Time

    @classmethod
    def of(cls, word: Word) -> Explanation:
        return cls(
            event="explained" if word.event == EXPLAINED else "explanation-withdrawn",
            statement=str(word.statement),
            log_index=word.index,
            actor=word.actor,
            reason=word.reason,
            said_at=format_time(word.said_at),
        )


class Finding(Struct, frozen=True, kw_only=True):
    """What the conservation of clips does not bear out. ``subject`` is the statement or object it is about; ``row``
    and ``name`` are the first of its ``files``, ``inventory`` the listing that ``row`` counts in. It is open until a
    later entry of the log is evidence against it, or an ``explanation`` stands."""

    finding: str
    code: str
    severity: Literal["alarm", "warning", "note"]
    says: Sentence
    advice: Sentence
    agency: str
    subject: str
    station: str | None
    recorder: str | None
    visit: str | None
    inventory: str | None
    row: int | None
    name: str | None
    files: int
    details: dict[str, str | int]
    opened_index: int
    opened_at: Time | None
    closed_index: int | None
    closed_at: Time | None
    closed_by: Literal["evidence", "explanation"] | None
    explanation: Explanation | None

    @classmethod
    def of(cls, found: catalogue.RecordedFinding) -> Finding:
        kind = findings.KINDS[found.code]
        return cls(
            finding=str(found.id),
            code=found.code,
            severity=found.severity.value,
            says=Sentence.of(kind.says),
            advice=Sentence.of(kind.advice),
            agency=found.agency,
            subject=str(found.subject),
            station=found.station,
            recorder=found.recorder,
            visit=found.visit,
            inventory=_text(found.inventory),
            row=found.row,
            name=found.path,
            files=found.files,
            details=dict(found.details),
            opened_index=found.opened_index,
            opened_at=_time(found.opened_at),
            closed_index=found.closed_index,
            closed_at=_time(found.closed_at),
            closed_by=None if found.closed_by is None else found.closed_by.value,
            explanation=None if found.explanation is None else Explanation.of(found.explanation),
        )


class FindingPage(Struct, frozen=True, kw_only=True):
    """Findings, newest first. ``next_cursor`` leads on; null at the end."""

    findings: list[Finding]
    next_cursor: str | None


class Problem(Struct, frozen=True, kw_only=True):
    """RFC 9457 problem details. ``code`` is stable; ``retryable`` says whether the same request can succeed later."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    retryable: bool


def _text(digest: Digest | None) -> str | None:
    return None if digest is None else str(digest)


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else format_time(moment)
