"""What a collector hands to an outsider (clip, receipt, log key, copy of the log), and every way to falsify it.

The falsifications are those of somebody who controls the files handed over, some of them of somebody who even holds
the log's signing key.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from protocol.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from protocol.dsse import Envelope
from protocol.log_reading import LogCopy, read_entries
from protocol.merkle import EMPTY_ROOT
from protocol.note import SignerKey, VerifierKey
from protocol.receipt import Receipt, ReceiptItem
from protocol.tiles import Tile, grow


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """Paths of what is handed over. ``log_seed`` and ``station_seed`` never are: they are the forger's."""

    clip: Path
    receipt: Path
    log_key: Path
    log: Path
    log_seed: bytes
    station_seed: bytes

    @property
    def arguments(self) -> Sequence[str | Path]:
        """For ``zhilu-verify``."""
        return (self.clip, "--receipt", self.receipt, "--log-key", self.log_key, "--log", self.log)

    def copy_to(self, folder: Path) -> Handover:
        """Files one may alter."""
        shutil.copytree(self.log, folder / "log", ignore=shutil.ignore_patterns(".*"))
        named = {"clip": self.clip, "receipt": self.receipt, "log_key": self.log_key}
        paths = {name: folder / name for name in named}
        for name, source in named.items():
            paths[name].write_bytes(source.read_bytes())
        return replace(
            self, clip=paths["clip"], receipt=paths["receipt"], log_key=paths["log_key"], log=folder / "log"
        )


Forgery = Callable[[Handover, Handover], Handover]
"""From a copy one may alter and the evidence of another collector: what is presented."""


def flip(data: bytes, place: int) -> bytes:
    """The same bytes but for one bit of the byte at ``place``, which may count from the end."""
    altered = bytearray(data)
    altered[place] ^= 1
    return bytes(altered)


def _clip_flipped(place: float) -> Forgery:
    def forge(own: Handover, _: Handover) -> Handover:
        content = own.clip.read_bytes()
        own.clip.write_bytes(flip(content, int(place * (len(content) - 1))))
        return own

    return forge


def _clip_cut(own: Handover, _: Handover) -> Handover:
    own.clip.write_bytes(own.clip.read_bytes()[:-1])
    return own


def _each_item(alter: Callable[[ReceiptItem], ReceiptItem], only: int | None = None) -> Forgery:
    """Alters every item of the receipt, or only one (which may count from the end)."""

    def forge(own: Handover, _: Handover) -> Handover:
        receipt = Receipt.from_bytes(own.receipt.read_bytes())
        items = list(receipt.items)
        for number in range(len(items)) if only is None else [only]:
            items[number] = alter(items[number])
        own.receipt.write_bytes(replace(receipt, items=tuple(items)).to_bytes())
        return own

    return forge


def _statement_flipped(item: ReceiptItem) -> ReceiptItem:
    """In the middle of the nonce: it stays a statement that can be read."""
    payload = item.envelope.payload
    place = payload.index(b'"nonce":"') + len(b'"nonce":"') + 8
    digit = b"0" if payload[place : place + 1] != b"0" else b"1"
    altered = payload[:place] + digit + payload[place + 1 :]
    return replace(item, envelope=replace(item.envelope, payload=altered))


def _signature_flipped(item: ReceiptItem) -> ReceiptItem:
    return replace(item, envelope=replace(item.envelope, signature=flip(item.envelope.signature, 20)))


def _proof_flipped(item: ReceiptItem) -> ReceiptItem:
    first, *rest = item.proof.hashes
    return replace(item, proof=replace(item.proof, hashes=(flip(first, 9), *rest)))


def _checkpoint_flipped(line: int) -> Callable[[ReceiptItem], ReceiptItem]:
    """Size, root hash or signature of the checkpoint."""

    def alter(item: ReceiptItem) -> ReceiptItem:
        lines = item.proof.checkpoint_note.split(b"\n")
        lines[line] = lines[line][:-9] + flip(lines[line][-9:], 0 if len(lines[line]) > 9 else -1)
        return replace(item, proof=replace(item.proof, checkpoint_note=b"\n".join(lines)))

    return alter


def _signed_by_another_station(own: Handover, other: Handover) -> Handover:
    """The manifest, word for word, signed by the station of another collector."""

    def alter(item: ReceiptItem) -> ReceiptItem:
        envelope = item.envelope
        return replace(
            item, envelope=Envelope.sign(envelope.payload_type, envelope.payload, other.station_seed)
        )

    return _each_item(alter, only=-2)(own, other)


def _another_clips_receipt(own: Handover, other: Handover) -> Handover:
    return replace(own, receipt=other.receipt)


def _another_logs_receipt(own: Handover, other: Handover) -> Handover:
    """Clip and receipt of another collector: genuine, but not of the log one trusts."""
    return replace(own, clip=other.clip, receipt=other.receipt)


def _another_logs_key(own: Handover, other: Handover) -> Handover:
    return replace(own, log_key=other.log_key)


def _another_log(own: Handover, other: Handover) -> Handover:
    return replace(own, log=other.log)


def _another_history(own: Handover, _: Handover) -> Handover:
    """A log of the same length, signed with the very log key, in which one early entry never was."""
    entries = log_entries(own)
    changed = [*entries[:2], entries[3], entries[2], *entries[4:]]
    return replace(own, log=_write_log(own, changed))


def _history_after_the_receipt(own: Handover, _: Handover) -> Handover:
    """Old enough not to hold the receipt's entries, hence unable to confirm them."""
    return replace(own, log=_write_log(own, log_entries(own)[:4]))


def _tile_flipped(own: Handover, _: Handover) -> Handover:
    """One bit of one entry in the copy of the log, checkpoint untouched."""
    bundles = own.log / "tile" / "entries"
    newest = max(
        (path for path in bundles.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size
    )
    newest.chmod(0o600)
    newest.write_bytes(flip(newest.read_bytes(), 40))
    return own


def log_entries(handover: Handover) -> list[bytes]:
    """Every entry of the log handed over."""
    key = VerifierKey.parse(handover.log_key.read_text().strip())
    note = (handover.log / "checkpoint").read_bytes()
    size = open_checkpoint(note, key).size
    copy = LogCopy(note, lambda tile: (handover.log / tile.path).read_bytes())
    return [entry for _, entry in read_entries(copy, 0, size, size)]


def _write_log(own: Handover, entries: Iterable[bytes]) -> Path:
    """A log of these entries, signed with the true log key."""
    key = VerifierKey.parse(own.log_key.read_text().strip())
    signer = SignerKey(name=key.name, seed=own.log_seed)
    assert signer.verifier == key
    tiles: dict[Tile, bytes] = {}
    growth = grow(old_size=0, old_root=EMPTY_ROOT, entries=list(entries), read=tiles.__getitem__)
    folder = own.log.with_name("forged-log")
    for tile, data in growth.tiles.items():
        path = folder / tile.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    checkpoint = Checkpoint(origin=key.name, size=growth.size, root=growth.root)
    (folder / "checkpoint").write_bytes(sign_checkpoint(checkpoint, signer))
    return folder


FORGERIES: Final[dict[str, tuple[Forgery, str]]] = {
    "first byte of the clip": (_clip_flipped(0.0), "content"),
    "a byte in the middle of the clip": (_clip_flipped(0.5), "content"),
    "last byte of the clip": (_clip_flipped(1.0), "content"),
    "the clip is a byte short": (_clip_cut, "content"),
    "a byte of the first statement": (_each_item(_statement_flipped, only=0), "inclusion"),
    "a byte of the station's enrolment": (_each_item(_statement_flipped, only=1), "inclusion"),
    "a byte of the manifest": (_each_item(_statement_flipped, only=-2), "inclusion"),
    "a byte of the stored statement": (_each_item(_statement_flipped, only=-1), "inclusion"),
    "a byte of a signature": (_each_item(_signature_flipped, only=-2), "inclusion"),
    "a byte of a proof": (_each_item(_proof_flipped, only=-1), "inclusion"),
    "the checkpoint's size": (_each_item(_checkpoint_flipped(1)), "log-key"),
    "the checkpoint's root": (_each_item(_checkpoint_flipped(2)), "log-key"),
    "the checkpoint's signature": (_each_item(_checkpoint_flipped(4)), "log-key"),
    "one of the checkpoints only": (_each_item(_checkpoint_flipped(2), only=0), "log-key"),
    "signed by another station": (_signed_by_another_station, "inclusion"),
    "another log's receipt for this clip": (_another_clips_receipt, "log-key"),
    "clip and receipt of another log": (_another_logs_receipt, "log-key"),
    "another log's key": (_another_logs_key, "log-key"),
    "another log": (_another_log, "log-history"),
    "a log with another history": (_another_history, "log-history"),
    "a log that ends before the receipt": (_history_after_the_receipt, "log-history"),
    "a byte of the log": (_tile_flipped, "log-history"),
}
"""By what was falsified: how, and the check that must find it."""
