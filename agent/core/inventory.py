"""From what a scan found to the rows of the inventory (清点): states, order of reading, who it claims to be. Pure.

Guarantees: every scanned entry becomes exactly one row, in exactly one state (conservation of clips); nothing is left
out because its kind is unknown. Works row by row, so that a caller with a million files can keep them in its
journal; ``list_rows`` and ``plan_reading`` are for what fits in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, TypeAlias

from agent.ports import Obstacle, ScannedEntry
from firmware_profiles.identity import Answer, IdentityClaims, Outcome, decide_identity
from firmware_profiles.names import NameClaims, claims_from_label, claims_from_path
from firmware_profiles.schema import OUTSIDE_ROOTS, Profile
from protocol.claims import Claim
from protocol.digest import Digest
from protocol.limits import MAX_ORIGINAL_BYTES
from protocol.listing import MAX_SIZE_BYTES, ListingRow, RowState, display_path

TOO_LARGE: Final = "file-too-large"

_NO_FILE: Final = frozenset({Obstacle.SYMBOLIC_LINK, Obstacle.NOT_A_REGULAR_FILE})
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NAMES_IN_NOTE: Final = 5

_MAX_VOICES: Final = 100
"""Different claims that are remembered of one volume: two that differ decide, and a card may hold a million."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFile:
    """What must agree for a file to count as the one read at an earlier visit. ``recorder`` is the recorder's number,
    or another key by which the caller tells volumes apart: the same path on another recorder is another file."""

    recorder: str
    raw_path: bytes
    size_bytes: int
    modified_ns: int


KnownReads: TypeAlias = Callable[[KnownFile], Digest | None]
"""The manifest of an earlier read; ``mapping.get`` or a query of the journal."""


def no_earlier_reads(_: KnownFile) -> None:
    """``KnownReads`` of a recorder that is here for the first time, or cannot be told apart from others."""


def row_of(entry: ScannedEntry, profile: Profile, *, recorder: str, known: KnownReads) -> ListingRow:
    """The row of one entry. Ignore rules come first: what the profile expects to be closed is no failure."""
    state, rule = _state(entry, profile)
    manifest = _earlier_manifest(entry, recorder, known) if state is RowState.TO_READ else None
    return ListingRow(
        raw_path=entry.raw_path,
        size_bytes=min(entry.size_bytes, MAX_SIZE_BYTES),
        modified_at=moment(entry.modified_ns),
        state=RowState.KNOWN if manifest is not None else state,
        rule=rule,
        manifest=manifest,
    )


def _state(entry: ScannedEntry, profile: Profile) -> tuple[RowState, str | None]:
    path = display_path(entry.raw_path)
    ignored = profile.ignoring_rule(path)
    if ignored is not None:
        return RowState.EXCLUDED, ignored
    if not profile.in_media_roots(path):
        return RowState.EXCLUDED, OUTSIDE_ROOTS
    if entry.obstacle is not None:
        state = RowState.EXCLUDED if entry.obstacle in _NO_FILE else RowState.UNREADABLE
        return state, entry.obstacle.value
    if entry.size_bytes > MAX_ORIGINAL_BYTES:
        return RowState.UNREADABLE, TOO_LARGE
    return RowState.TO_READ, None


def _earlier_manifest(entry: ScannedEntry, recorder: str, known: KnownReads) -> Digest | None:
    if entry.modified_ns is None:
        return None
    return known(
        KnownFile(
            recorder=recorder,
            raw_path=entry.raw_path,
            size_bytes=entry.size_bytes,
            modified_ns=entry.modified_ns,
        )
    )


def moment(modified_ns: int | None) -> datetime | None:
    """A file's time to the millisecond below; None for what is no date (file systems can hold any number)."""
    if modified_ns is None:
        return None
    try:
        return _EPOCH + timedelta(milliseconds=modified_ns // 1_000_000)
    except OverflowError:
        return None


def list_rows(
    entries: Iterable[ScannedEntry], profile: Profile, *, recorder: str, known: KnownReads
) -> list[ListingRow]:
    """All rows in the order of the listing. A damaged file system can list a name twice; only one of the two can be
    opened, so the first stands for both."""
    rows: dict[bytes, ListingRow] = {}
    for entry in entries:
        if entry.raw_path not in rows:
            rows[entry.raw_path] = row_of(entry, profile, recorder=recorder, known=known)
    return [rows[path] for path in sorted(rows)]


@dataclass(frozen=True, slots=True)
class PlannedRead:
    """One file to read: its row, the row's number in the listing, and what its name claims."""

    number: int
    row: ListingRow
    claims: NameClaims


ReadingKey: TypeAlias = tuple[int, ...]
"""Sorts into the order of reading, lowest first; integers, so that a journal can keep and sort them."""


def reading_key(row: ListingRow, claims: NameClaims, profile: Profile) -> ReadingKey:
    """By the profile's order: marked before unmarked, newest first by claimed start, else by the file's time."""
    started_at = claims.started_at.value if claims.started_at else row.modified_at
    keys = {
        "marked": 0 if claims.marked else 1,
        "newest": 1 if started_at is None else -((started_at - _EPOCH) // timedelta(milliseconds=1)),
    }
    return tuple(keys[name] for name in profile.reading_order)


def plan_reading(rows: Sequence[ListingRow], profile: Profile, zone: tzinfo) -> list[PlannedRead]:
    """The rows to read in the order in which to read them; equal ones in the order of the listing."""
    planned = [
        PlannedRead(number, row, claims_from_path(profile, row.path, zone))
        for number, row in enumerate(rows)
        if row.state is RowState.TO_READ
    ]
    return sorted(planned, key=lambda plan: reading_key(plan.row, plan.claims, profile))


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitSummary:
    """The sums of a listing, and who recorder and officer claim to be: a claim is None where nothing is said and where
    sources disagree. ``conflicts`` says in what; then people are asked."""

    listed: int
    to_read: int
    excluded: int
    known: int
    unreadable: int
    listed_bytes: int
    to_read_bytes: int
    recorder: Claim | None
    officer: Claim | None
    conflicts: tuple[str, ...]


class _Voices:
    """Different claims to one number, and how often each was heard. Spellings that differ in letter case are one, so
    that a card cannot fill the places with them and hide a contradiction."""

    def __init__(self) -> None:
        self._times: Counter[tuple[str, str]] = Counter()
        self._spelled: dict[tuple[str, str], Claim] = {}

    def hear(self, claim: Claim | None) -> None:
        if claim is None:
            return
        voice = (claim.source, claim.value.casefold())
        if voice not in self._spelled and len(self._spelled) >= _MAX_VOICES:
            return
        self._times[voice] += 1
        self._spelled[voice] = min(claim, self._spelled.get(voice, claim), key=lambda known: known.value)

    def answer(self, sources: Sequence[str]) -> Answer:
        return decide_identity(sources, self._spelled.values())

    def note(self, role: str, answer: Answer) -> str | None:
        """What disagrees, most frequent first; None when nothing does."""
        if answer.outcome is not Outcome.CONTRADICTION:
            return None
        by_times = sorted(answer.said, key=self._times_of, reverse=True)
        values = ", ".join(f"{claim.value} ({self._times_of(claim)})" for claim in by_times[:_NAMES_IN_NOTE])
        different = len({claim.value.casefold() for claim in answer.said})
        sources = ", ".join(dict.fromkeys(claim.source for claim in answer.said))
        return f"{role}: {different} different values by {sources}: {values}"

    def _times_of(self, claim: Claim) -> int:
        return self._times[claim.source, claim.value.casefold()]


class VisitTally:
    """Sums up rows one at a time; keeps numbers and the different claims, not the rows. ``others`` are claims of
    sources beside label and names: the recorder's own answers, its marker file."""

    def __init__(self, profile: Profile, *, label: str | None, others: Iterable[IdentityClaims] = ()) -> None:
        self._profile = profile
        self._rows: Counter[RowState] = Counter()
        self._bytes: Counter[RowState] = Counter()
        self._recorder = _Voices()
        self._officer = _Voices()
        for claims in (*others, claims_from_label(profile, label)):
            self._hear(claims)

    def add(self, row: ListingRow, claims: NameClaims) -> None:
        """One row and what its path claims. Excluded rows are counted but not asked who they are."""
        self._rows[row.state] += 1
        self._bytes[row.state] += row.size_bytes
        if row.state is not RowState.EXCLUDED:
            self._hear(claims)

    def _hear(self, claims: IdentityClaims) -> None:
        self._recorder.hear(claims.recorder)
        self._officer.hear(claims.officer)

    def summary(self) -> VisitSummary:
        identity = self._profile.identity
        recorder = self._recorder.answer(identity.recorder)
        officer = self._officer.answer(identity.officer)
        notes = (self._recorder.note("recorder", recorder), self._officer.note("officer", officer))
        return VisitSummary(
            listed=self._rows.total(),
            to_read=self._rows[RowState.TO_READ],
            excluded=self._rows[RowState.EXCLUDED],
            known=self._rows[RowState.KNOWN],
            unreadable=self._rows[RowState.UNREADABLE],
            listed_bytes=self._bytes.total(),
            to_read_bytes=self._bytes[RowState.TO_READ],
            recorder=recorder.claim,
            officer=officer.claim,
            conflicts=tuple(note for note in notes if note is not None),
        )


def summarise(
    rows: Iterable[ListingRow],
    profile: Profile,
    zone: tzinfo,
    *,
    label: str | None,
    others: Iterable[IdentityClaims] = (),
) -> VisitSummary:
    """The summary of a whole listing."""
    tally = VisitTally(profile, label=label, others=others)
    for row in rows:
        tally.add(row, claims_from_path(profile, row.path, zone))
    return tally.summary()
