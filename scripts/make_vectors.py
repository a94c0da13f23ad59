"""Known answers for the formats of docs/formats.md, from fixed keys, times and nonces: tests/vectors/zhilu/.

They are frozen: what one version wrote, every later version reads and, from the same values, writes again. So a file
that is there is never overwritten with other bytes; who really means to break the format deletes it first.

usage: scripts/make_vectors.py      exit 0 all files are as they should be, 1 some are there with other bytes
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from protocol import ed25519
from protocol.admission import Admission, AdmissionResult, sign_admission
from protocol.checkpoint import Checkpoint, sign_checkpoint
from protocol.claims import Claim, TimeClaim
from protocol.digest import Digest
from protocol.dsse import Envelope
from protocol.enrolment_code import EnrolmentCode
from protocol.entry import LogEntry
from protocol.ids import COLLECTOR
from protocol.listing import ListingRow, RowState, encode_listing
from protocol.merkle import EMPTY_ROOT, make_inclusion_proof
from protocol.note import SignerKey
from protocol.receipt import Receipt, ReceiptItem
from protocol.statements import (
    Custody,
    Enrolled,
    Header,
    Inventory,
    KeptRow,
    Manifest,
    Media,
    RecorderClock,
    Released,
    ReleaseIntent,
    ReleaseItem,
    Rendered,
    Rendition,
    Revoked,
    Statement,
    Stored,
    sign_statement,
    statement_id,
)
from protocol.tiles import Growth, Tile, TileHashReader, grow
from protocol.tlog_proof import TlogProof

FOLDER: Final = Path(__file__).parents[1] / "tests/vectors/zhilu"

LOG_KEY: Final = SignerKey(name="log.example/zhilu", seed=bytes([1]) * 32)
COLLECTOR_SEED: Final = bytes([2]) * 32
STATION_SEED: Final = bytes([3]) * 32

AGENCY: Final = "lands-bureau"
STATION: Final = "station-1"
VISIT: Final = "00112233445566778899aabbccddeeff"
NOW: Final = datetime(2026, 3, 4, 5, 6, 7, 89_000, tzinfo=UTC)
PATH: Final = "DCIM/现场_000123_20260304130000.mp4".encode("gb18030")

CLIP: Final = b"The bytes of a clip; any bytes are an original.\n"
PLAYABLE: Final = b"The bytes of its playable rendition.\n"

_EMPTY: Final[dict[Tile, bytes]] = {}


def _header(number: int, *, agency: str = AGENCY, signer: str = STATION) -> Header:
    issued_at = NOW + timedelta(seconds=number)
    return Header(agency=agency, signer=signer, issued_at=issued_at, nonce=f"{number:032x}")


def listing() -> bytes:
    """Three rows: the clip, a file no rule wants, and one that could not be opened."""
    clip = ListingRow(raw_path=PATH, size_bytes=len(CLIP), modified_at=NOW, state=RowState.TO_READ)
    system = replace(clip, raw_path=b"System Volume Information", path="", size_bytes=0, modified_at=None)
    unwanted = replace(system, state=RowState.EXCLUDED, rule="system")
    broken = replace(system, raw_path=b"\xff\xfe.mp4", path="", state=RowState.UNREADABLE, rule="io-error")
    return b"".join(encode_listing([clip, unwanted, broken]))


def enrolled(number: int, seed: bytes, *, role: str, name: str, agency: str) -> Enrolled:
    return Enrolled(
        header=_header(number, agency=agency, signer=COLLECTOR),
        role=role,
        name=name,
        public_key=ed25519.public_from_seed(seed),
    )


def inventory() -> Inventory:
    data = listing()
    return Inventory(
        header=_header(2),
        listing=Digest.of(data),
        listing_size_bytes=len(data),
        rows=3,
        listed_bytes=len(CLIP),
        visit=VISIT,
        sequence=1,
        dock="usb",
        bay="1-1.4",
        profile="name-n1@1",
        volume_label="执法",
        total_bytes=64_000_000_000,
        free_bytes=63_000_000_000,
        battery_percent=80,
        recorder=Claim("ZFY0001", "config"),
        officer=Claim("000123", "name"),
        clock=RecorderClock(offset_ms=-61_250, uncertainty_ms=500, method="device"),
    )


def manifest(of: Digest) -> Manifest:
    return Manifest(
        header=_header(3),
        digest=Digest.of(CLIP),
        size_bytes=len(CLIP),
        inventory=of,
        visit=VISIT,
        row=0,
        path=PATH.decode("gb18030"),
        path_bytes=PATH,
        media_type="video/mp4",
        modified_at=NOW,
        recorder=Claim("ZFY0001", "config"),
        officer=Claim("000123", "name"),
        started_at=TimeClaim(NOW, "name"),
        marked=True,
        read_started_at=NOW,
        read_finished_at=NOW + timedelta(milliseconds=1_500),
        attempts=1,
        resumed=False,
    )


def stored(of: Digest) -> Stored:
    return Stored(
        header=_header(4, signer=COLLECTOR),
        digest=Digest.of(CLIP),
        size_bytes=len(CLIP),
        purpose="original",
        statement=of,
        stored_at=NOW + timedelta(seconds=4),
    )


def media(of: Digest) -> Media:
    return Media(
        header=_header(5),
        original=Digest.of(CLIP),
        manifest=of,
        media_type="video/mp4",
        duration_ms=60_040,
        started_at=TimeClaim(NOW, "container"),
        recorder=None,
        facts={"streams": [{"codec": "h264", "width": 1920, "height": 1080, "frames_per_second": 29.97}]},
        problem=None,
    )


def rendition(of: Digest) -> Rendition:
    return Rendition(
        header=_header(6),
        original=Digest.of(CLIP),
        manifest=of,
        rendition="playable",
        rendered=Rendered(
            digest=Digest.of(PLAYABLE),
            size_bytes=len(PLAYABLE),
            media_type="video/mp4",
            method="remux",
            tool="ffmpeg",
            tool_version="5.1.6",
            arguments=("-c", "copy", "-movflags", "+faststart"),
        ),
        problem=None,
    )


def custody() -> Custody:
    return Custody(
        header=_header(7, signer=COLLECTOR),
        event="viewed",
        item=Digest.of(CLIP),
        item_name="original",
        actor="reviewer-7",
        details={"address": "192.0.2.7", "bytes": len(CLIP)},
    )


def revoked() -> Revoked:
    return Revoked(
        header=_header(8, signer=COLLECTOR),
        name=STATION,
        key_digest=Digest.of(ed25519.public_from_seed(STATION_SEED)),
        reason="退役 retired",
    )


def release_intent(of: Digest, original: Digest) -> ReleaseIntent:
    return ReleaseIntent(
        header=_header(9),
        visit=VISIT,
        inventory=of,
        generation="5f2c/2049/12",
        items=(ReleaseItem(row=0, manifest=original, digest=Digest.of(CLIP), stored_index=4),),
    )


def released(of: Digest) -> Released:
    return Released(
        header=_header(10),
        visit=VISIT,
        intent=of,
        inventory_after=Digest.of(b"another inventory"),
        kept=(KeptRow(row=0, code="file-changed"),),
    )


@dataclass(slots=True)
class _Story:
    """Statements in log order, then the log made of them."""

    statements: list[Statement] = field(default_factory=list)
    envelopes: list[Envelope] = field(default_factory=list)

    def tell(self, statement: Statement, seed: bytes) -> Digest:
        envelope = sign_statement(statement, seed)
        self.statements.append(statement)
        self.envelopes.append(envelope)
        return statement_id(envelope)

    def entries(self) -> list[bytes]:
        return [
            LogEntry.of(envelope, statement).to_bytes()
            for envelope, statement in zip(self.envelopes, self.statements, strict=True)
        ]

    def log(self) -> Growth:
        return grow(old_size=0, old_root=EMPTY_ROOT, entries=self.entries(), read=_EMPTY.__getitem__)


def _receipt(story: _Story, of: Digest, indices: list[int]) -> Receipt:
    log, note = story.log(), _note(story)
    hashes = TileHashReader(log.size, log.tiles.__getitem__)
    return Receipt(
        agency=AGENCY,
        statement=of,
        digest=Digest.of(CLIP),
        size_bytes=len(CLIP),
        items=tuple(
            ReceiptItem(
                envelope=story.envelopes[index],
                proof=TlogProof(
                    index=index,
                    hashes=tuple(make_inclusion_proof(index, log.size, hashes)),
                    checkpoint_note=note,
                ),
            )
            for index in indices
        ),
    )


def _note(story: _Story) -> bytes:
    log = story.log()
    return sign_checkpoint(Checkpoint(origin=LOG_KEY.name, size=log.size, root=log.root), LOG_KEY)


def _admission(story: _Story, of: Digest) -> Envelope:
    refused = AdmissionResult.refused(
        Digest.of(b"another statement"), "not-enrolled", "no enrolment is known for this key", retryable=False
    )
    admission = Admission(
        station=STATION,
        issued_at=NOW,
        results=(AdmissionResult.admitted(of, 3), refused),
        checkpoint=_note(story),
    )
    return sign_admission(admission, COLLECTOR_SEED)


def _code() -> EnrolmentCode:
    return EnrolmentCode(
        url="https://collector.example:8443",
        secret=bytes(range(32)),
        ca_fingerprint=Digest.of(b"the DER of a CA certificate"),
        log_key=LOG_KEY.verifier,
        station=STATION,
        agencies=(AGENCY, "water-bureau"),
    )


def vectors() -> dict[str, bytes]:
    """Every file below ``tests/vectors/zhilu/`` by its path."""
    story = _Story()
    story.tell(
        enrolled(0, COLLECTOR_SEED, role="collector", name=COLLECTOR, agency=COLLECTOR), COLLECTOR_SEED
    )
    story.tell(enrolled(1, STATION_SEED, role="station", name=STATION, agency=AGENCY), COLLECTOR_SEED)
    inventory_id = story.tell(inventory(), STATION_SEED)
    manifest_id = story.tell(manifest(inventory_id), STATION_SEED)
    story.tell(stored(manifest_id), COLLECTOR_SEED)
    story.tell(media(manifest_id), STATION_SEED)
    story.tell(rendition(manifest_id), STATION_SEED)
    story.tell(custody(), COLLECTOR_SEED)
    story.tell(revoked(), COLLECTOR_SEED)
    intent = sign_statement(release_intent(inventory_id, manifest_id), STATION_SEED)
    return {
        "clip.mp4": CLIP,
        "listing.jsonl": listing(),
        **{
            f"envelopes/{index}-{statement.kind}.json": envelope.to_bytes()
            for index, (statement, envelope) in enumerate(zip(story.statements, story.envelopes, strict=True))
        },
        "envelopes/9-release-intent.json": intent.to_bytes(),
        "envelopes/10-released.json": sign_statement(released(statement_id(intent)), STATION_SEED).to_bytes(),
        "entries/1-enrolled.json": story.entries()[1],
        "entries/3-manifest.json": story.entries()[3],
        **{f"log/{tile.path}": data for tile, data in story.log().tiles.items()},
        "log/checkpoint": _note(story),
        "log/vkey": f"{LOG_KEY.verifier}\n".encode(),
        "admission.json": _admission(story, manifest_id).to_bytes(),
        "receipt.json": _receipt(story, manifest_id, [0, 1, 2, 3, 4, 8]).to_bytes(),
        "enrolment-code.txt": f"{_code().to_text()}\n".encode(),
    }


def main() -> int:
    """Write what is missing, name what is different. Returns the exit code."""
    different = []
    for name, data in vectors().items():
        path = FOLDER / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        elif path.read_bytes() != data:
            different.append(name)
    for name in different:
        print(f"{name} would change: stations and auditors hold files of this form", file=sys.stderr)
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
