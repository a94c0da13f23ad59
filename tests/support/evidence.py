"""A small but real evidence log in memory: real keys, statements, tiles, checkpoints and receipts."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from protocol import ed25519
from protocol.checkpoint import Checkpoint, sign_checkpoint
from protocol.claims import Claim, TimeClaim
from protocol.digest import Digest
from protocol.dsse import Envelope
from protocol.entry import LogEntry
from protocol.ids import COLLECTOR
from protocol.log_reading import LogCopy
from protocol.merkle import EMPTY_ROOT, make_inclusion_proof
from protocol.note import SignerKey
from protocol.receipt import Receipt, ReceiptItem
from protocol.statements import (
    Enrolled,
    Header,
    Inventory,
    Manifest,
    Rendered,
    Rendition,
    Revoked,
    Statement,
    Stored,
    sign_statement,
    statement_id,
)
from protocol.tiles import Tile, TileHashReader, grow
from protocol.tlog_proof import TlogProof
from protocol.verify import Promise, promised_blob

NOW = datetime(2026, 3, 4, 5, 6, 7, 89_000, tzinfo=UTC)
AGENCY = "lands-bureau"
STATION = "station-1"
COLLECTOR_SEED = b"c" * 32
STATION_SEED = b"s" * 32
OTHER_SEED = b"o" * 32
VISIT = "5" * 32
_PURPOSES = {"inventory": "listing", "manifest": "original", "rendition": "rendition"}


def header(number: int = 0, *, agency: str = AGENCY, signer: str = STATION) -> Header:
    return Header(agency=agency, signer=signer, issued_at=NOW, nonce=f"{number:032x}")


def enrolled(seed: bytes, *, name: str = STATION, agency: str = AGENCY) -> Enrolled:
    return Enrolled(
        header=header(1, agency=agency, signer=COLLECTOR),
        role="collector" if name == COLLECTOR else "station",
        name=name,
        public_key=ed25519.public_from_seed(seed),
    )


def revoked(seed: bytes, *, agency: str = AGENCY) -> Revoked:
    return Revoked(
        header=header(2, agency=agency, signer=COLLECTOR),
        name=STATION,
        key_digest=Digest.of(ed25519.public_from_seed(seed)),
        reason="lost",
    )


def inventory(number: int = 3, *, agency: str = AGENCY, rows: int = 2) -> Inventory:
    return Inventory(
        header=header(number, agency=agency),
        listing=Digest.of(b"listing"),
        listing_size_bytes=7,
        rows=rows,
        listed_bytes=100,
        visit=VISIT,
        sequence=1,
        dock="folder",
        bay="bay-1",
        profile="generic@1",
        volume_label="REC",
        total_bytes=None,
        free_bytes=12,
        battery_percent=None,
        recorder=Claim("ABC1234", "name"),
        officer=None,
        clock=None,
    )


def manifest(content: bytes, of: Digest, number: int = 4, *, agency: str = AGENCY, row: int = 0) -> Manifest:
    return Manifest(
        header=header(number, agency=agency),
        digest=Digest.of(content),
        size_bytes=len(content),
        inventory=of,
        visit=VISIT,
        row=row,
        path="现场.mp4",
        path_bytes="现场.mp4".encode("gb18030"),
        media_type="video/mp4",
        modified_at=None,
        recorder=Claim("ABC1234", "name"),
        officer=Claim("000123", "name"),
        started_at=TimeClaim(NOW, "name"),
        marked=False,
        read_started_at=NOW,
        read_finished_at=NOW,
        attempts=1,
        resumed=False,
    )


def rendition(content: bytes, original: Digest, of: Digest, number: int = 6) -> Rendition:
    return Rendition(
        header=header(number),
        original=original,
        manifest=of,
        rendition="playable",
        rendered=Rendered(
            digest=Digest.of(content),
            size_bytes=len(content),
            media_type="video/mp4",
            method="remux",
            tool="ffmpeg",
            tool_version="5.1",
            arguments=("-i", "/in/clip.mp4"),
        ),
        problem=None,
    )


def stored(promise: Promise, of: Digest, number: int = 5) -> Stored:
    digest, size_bytes = promised_blob(promise)
    return Stored(
        header=header(number, agency=promise.header.agency, signer=COLLECTOR),
        digest=digest,
        size_bytes=size_bytes,
        purpose=_PURPOSES[promise.kind],
        statement=of,
        stored_at=NOW,
    )


@dataclass
class EvidenceLog:
    """Appends signed statements and hands out receipts; ``copy`` is the log as a stranger would hold it."""

    log_key: SignerKey = field(default_factory=lambda: SignerKey(name="log.example/zhilu", seed=b"l" * 32))
    tiles: dict[Tile, bytes] = field(default_factory=dict)
    envelopes: list[Envelope] = field(default_factory=list)
    checkpoint: Checkpoint = field(init=False)

    def __post_init__(self) -> None:
        self.checkpoint = Checkpoint(origin=self.log_key.name, size=0, root=EMPTY_ROOT)

    def add(self, statement: Statement, seed: bytes) -> Digest:
        envelope = sign_statement(statement, seed)
        self.add_entry(LogEntry.of(envelope, statement).to_bytes())
        self.envelopes.append(envelope)
        return statement_id(envelope)

    def add_entry(self, entry: bytes) -> None:
        growth = grow(
            old_size=self.checkpoint.size,
            old_root=self.checkpoint.root,
            entries=[entry],
            read=self.tiles.__getitem__,
        )
        self.tiles.update(growth.tiles)
        self.checkpoint = Checkpoint(origin=self.log_key.name, size=growth.size, root=growth.root)

    @property
    def note(self) -> bytes:
        return sign_checkpoint(self.checkpoint, self.log_key)

    def copy(self) -> LogCopy:
        return LogCopy(self.note, self.tiles.__getitem__)

    def item(self, index: int) -> ReceiptItem:
        reader = TileHashReader(self.checkpoint.size, self.tiles.__getitem__)
        proof = TlogProof(
            index=index,
            hashes=tuple(make_inclusion_proof(index, self.checkpoint.size, reader)),
            checkpoint_note=self.note,
        )
        return ReceiptItem(envelope=self.envelopes[index], proof=proof)

    def receipt(self, promise: Promise, of: Digest, indices: list[int]) -> Receipt:
        digest, size_bytes = promised_blob(promise)
        return Receipt(
            agency=promise.header.agency,
            statement=of,
            digest=digest,
            size_bytes=size_bytes,
            items=tuple(self.item(index) for index in indices),
        )


@dataclass
class Story:
    """Collector and station enrolled, one clip inventoried, announced and stored: entries 0 to 4."""

    content: bytes = b"moving pictures"
    log: EvidenceLog = field(default_factory=EvidenceLog)

    def __post_init__(self) -> None:
        self.log.add(enrolled(COLLECTOR_SEED, name=COLLECTOR, agency=COLLECTOR), COLLECTOR_SEED)
        self.log.add(enrolled(STATION_SEED), COLLECTOR_SEED)
        self.inventory_id = self.log.add(inventory(), STATION_SEED)
        self.manifest = manifest(self.content, self.inventory_id)
        self.manifest_id = self.log.add(self.manifest, STATION_SEED)
        self.log.add(stored(self.manifest, self.manifest_id), COLLECTOR_SEED)

    def receipt(self) -> Receipt:
        return self.log.receipt(self.manifest, self.manifest_id, [0, 1, 2, 3, 4])
