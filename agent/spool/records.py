"""What the journal takes and gives: frozen values, times aware and UTC, sizes in bytes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum
from pathlib import Path

from agent.core.release import FoundAfter, ListedFile
from agent.ports import FileIdentity
from protocol.claims import Claim
from protocol.digest import Digest
from protocol.dsse import Envelope


class Purpose(StrEnum):
    """What a delivered blob is (用途); the words of the upload and of ``stored`` statements."""

    ORIGINAL = "original"
    RENDITION = "rendition"
    LISTING = "listing"


class Priority(IntEnum):
    """Order of delivery, smallest first: an inventory is small and everything else refers to it."""

    LISTING = 0
    MARKED = 10
    ORIGINAL = 20
    RENDITION = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class FileKey:
    """One version of one file on one recorder: two files are the same only if all four agree.

    Two recorders can both hold ``DCIM/100MEDIA/IMAG0001.MP4``; so size and time must agree too.
    """

    recorder_key: str
    path: bytes
    size_bytes: int
    modified_ns: int | None


@dataclass(frozen=True, slots=True)
class RowId:
    """One row of one signed inventory: the inventory's statement id and the zero-based row of its listing."""

    inventory: Digest
    row: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitRecord:
    """One stay of a recorder at a bay (到站). ``generation`` is the mount: a new one is a new visit."""

    visit: str
    dock: str
    bay: str
    generation: str
    recorder_key: str
    profile: str
    agency: str
    opened_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRow:
    """One row as ``record_inventory`` takes it, in the order of the listing.

    ``state`` is a word of ``protocol.listing.RowState``; ``order`` sorts into the order of reading, lowest first.
    """

    path: bytes
    shown: str
    size_bytes: int
    modified_ns: int | None
    state: str
    rule: str | None = None
    manifest: Digest | None = None
    order: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowToRead:
    """A row that still has to be read."""

    id: RowId
    key: FileKey
    visit: str
    agency: str
    shown: str
    order: tuple[int, int]

    @property
    def size_bytes(self) -> int:
        return self.key.size_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialRead:
    """How far a file was read. ``prefix`` is the SHA-256 of the first ``durable_bytes`` bytes in the partial file;
    ``attempts`` counts beginnings, also those of earlier visits; ``resumed`` once a read went on from an offset."""

    name: str
    durable_bytes: int
    prefix: Digest | None
    attempts: int
    resumed: bool
    read_started_at: datetime
    upload_url: str | None


@dataclass(frozen=True, slots=True)
class ReadAs:
    """What a file was while the whole of it was read, and in which unbroken watch over its volume."""

    session: str
    identity: FileIdentity


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginalRecord:
    """One row read, published in the spool and described by a signed manifest. ``marked`` and ``recorder`` are what
    delivery and media facts need of the manifest; ``read_as`` is what release needs, None where nothing is certain.
    """

    row: RowToRead
    envelope: Envelope
    digest: Digest
    size_bytes: int
    media_type: str
    marked: bool
    recorder: Claim | None
    read_as: ReadAs | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxRow:
    """A statement the collector has not yet answered."""

    statement: Digest
    agency: str
    kind: str
    envelope: bytes
    created_at: datetime
    sent_at: datetime | None
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A blob that a statement promised, open until its receipt is verified. ``admitted`` says whether the collector
    has admitted the statement."""

    statement: Digest
    purpose: Purpose
    agency: str
    digest: Digest
    size_bytes: int
    path: Path
    upload_url: str | None
    uploaded: bool
    admitted: bool
    created_at: datetime
    priority: int
    alone: bool = False


def bundle_key(bundle: int) -> str:
    """The key of the shipment that is a bundle."""
    return f"bundle {bundle}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipment:
    """What travels in one upload (一次上传): one delivery, or the deliveries of a journalled bundle, by purpose and
    digest. Deliveries of the same bytes stand beside each other and travel once."""

    deliveries: tuple[Delivery, ...]
    bundle: int | None = None
    upload_url: str | None = None

    @property
    def key(self) -> str:
        """The same after a restart, other for every other shipment."""
        return str(self.deliveries[0].statement) if self.bundle is None else bundle_key(self.bundle)

    @property
    def size_bytes(self) -> int:
        """Of the members' own bytes, each counted once."""
        return sum({delivery.digest: delivery.size_bytes for delivery in self.deliveries}.values())


@dataclass(frozen=True, slots=True)
class ReceiptPlace:
    """Where a receipt lies: the number of a file of receipts, the offset of its line there, its length in bytes."""

    file: int
    offset: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedDelivery:
    """A receipt that was verified, with the checkpoint it proves inclusion under."""

    statement: Digest
    receipt: bytes
    checkpoint_note: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaJob:
    """An original whose media facts and renditions are not yet recorded."""

    manifest: Digest
    agency: str
    digest: Digest
    size_bytes: int
    media_type: str
    path: Path
    recorder: Claim | None
    created_at: datetime
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounting:
    """Conservation of clips (I3): ``listed`` is always the sum of the other four file counts.

    ``known`` tells how many of the stored and pending rows were read at an earlier visit; ``unread`` how many of
    the pending ones exist only on the recorder as yet. ``bytes_*`` cover rows that are to be read or were.
    """

    listed: int
    stored: int
    pending: int
    unreadable: int
    excluded: int
    known: int
    unread: int
    bytes_listed: int
    bytes_unread: int
    bytes_stored: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpooledBlob:
    """A receipted blob still in the spool, as eviction sees it."""

    purpose: Purpose
    digest: Digest
    size_bytes: int
    receipted_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What the station still owes, for its status."""

    statements_unsettled: int
    statements_refused: int
    deliveries_open: int
    delivery_bytes_open: int
    media_jobs_open: int
    oldest_open_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseCandidate:
    """A receipted file of an inventory, as the rules of release see it."""

    row: int
    shown: str
    manifest: Digest
    digest: Digest
    size_bytes: int
    receipted_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenIntent:
    """A release intent nothing final is signed about (清除意向). ``outcome`` is the collector's answer; ``begun`` says
    that files may be missing, ``unsure`` that its volume did not confirm it."""

    statement: Digest
    visit: str
    agency: str
    recorder_key: str
    inventory: Digest
    generation: str
    envelope: bytes
    outcome: str | None
    begun: bool
    unsure: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentRow:
    """A file that an intent names: its row, its path, and what it was."""

    row: int
    manifest: Digest
    path: bytes
    listed: ListedFile


@dataclass(frozen=True, slots=True, kw_only=True)
class RowAfter:
    """What a later listing has in the place of a file that an intent names."""

    row: int
    manifest: Digest
    found: FoundAfter


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedRelease:
    """An intent with its signed outcome: how many of its files are gone, and how many were kept."""

    visit: str
    released: bytes
    gone: int
    kept: int
