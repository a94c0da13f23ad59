"""The spool in memory with a power switch: the twin of ``agent.spool.directory.DirectorySpool``.

``cut_power`` forgets everything that was not synced. Every call passes the switch twice, before and after its effect,
so that a test can cut at each place in turn: refused, and performed but never answered.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agent.spool.errors import SpoolError, SpoolFullError
from agent.spool.files import BLOCK_BYTES, PartialFile, Publication
from agent.spool.records import Purpose, ReceiptPlace
from protocol.digest import Digest


class PowerCutError(BaseException):
    """The machine is off. Not an Exception: no code of ours may handle it."""


class PowerSwitch:
    """Counts what the machine does and goes off at a given count; off, nothing works any more."""

    def __init__(self, off_at: int | None = None) -> None:
        self.count = 0
        self.is_off = False
        self._off_at = off_at
        self._lock = threading.Lock()

    def go_off_at(self, count: int | None) -> None:
        self._off_at = count

    def pass_through(self) -> None:
        with self._lock:
            self.count += 1
            if self.count == self._off_at:
                self.is_off = True
            if self.is_off:
                raise PowerCutError


@dataclass(slots=True)
class _File:
    keeps_name: bool
    shown: bytearray = field(default_factory=bytearray)
    on_disk: bytes = b""


class LossyPartial:
    """A ``PartialFile`` in memory."""

    def __init__(self, spool: LossySpool, name: str, file: _File) -> None:
        self._spool = spool
        self._file = file
        self._is_open = True
        self.path = Path("/lossy/partial") / name

    @property
    def size_bytes(self) -> int:
        return len(self._file.shown)

    def append(self, buffer: memoryview, count: int) -> None:
        if len(self._file.shown) % BLOCK_BYTES:
            raise ValueError("only the last piece may have an odd length")
        self._spool.switch.pass_through()
        if count > self._spool.free_bytes():
            raise SpoolFullError("no space left in the twin")
        self._file.shown += buffer[:count]
        self._spool.switch.pass_through()

    def flush(self) -> int:
        self._spool.switch.pass_through()
        if self._spool.fails_to_sync:
            raise SpoolError("syncing failed in the twin")
        kept = bytearray(self._file.shown)
        if self._spool.damages_next_sync and kept:
            self._spool.damages_next_sync = False
            kept[len(kept) // 2] ^= 1
        self._file.on_disk = bytes(kept)
        self._spool.switch.pass_through()
        return len(self._file.shown)

    def read_back(self, offset: int, into: memoryview) -> int:
        self._spool.switch.pass_through()
        piece = self._file.on_disk[offset : offset + len(into)]
        into[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self._is_open = False


class LossySpool:
    """A ``SpoolFiles`` in memory. Faults: ``capacity_bytes``, ``fails_to_sync``, ``damages_next_sync``."""

    def __init__(self, switch: PowerSwitch | None = None, *, capacity_bytes: int = 2**40) -> None:
        self.switch = switch or PowerSwitch()
        self.capacity_bytes = capacity_bytes
        self.fails_to_sync = False
        self.damages_next_sync = False
        self._partials: dict[str, _File] = {}
        self._blobs: dict[tuple[Purpose, Digest], bytes] = {}
        self.receipts: list[bytes] = []

    def cut_power(self) -> None:
        """Only what is durable is left, and the machine is on again."""
        self.switch = PowerSwitch()
        self._partials = {
            name: _File(keeps_name=True, shown=bytearray(file.on_disk), on_disk=file.on_disk)
            for name, file in self._partials.items()
            if file.keeps_name
        }

    def blob(self, purpose: Purpose, digest: Digest) -> bytes | None:
        """What the disk holds of a blob."""
        return self._blobs.get((purpose, digest))

    def open_partial(self, name: str, keep_bytes: int) -> LossyPartial:
        self.switch.pass_through()
        file = self._partials.setdefault(name, _File(keeps_name=True))
        del file.shown[min(len(file.shown), keep_bytes) // BLOCK_BYTES * BLOCK_BYTES :]
        self.switch.pass_through()
        return LossyPartial(self, name, file)

    def open_brief(self, name: str) -> LossyPartial:
        self.switch.pass_through()
        self._partials[name] = _File(keeps_name=False)
        return LossyPartial(self, name, self._partials[name])

    def flush_all(self, partials: Sequence[PartialFile]) -> None:
        for partial in partials:
            partial.flush()

    def publish(self, publications: Sequence[Publication]) -> None:
        for publication in publications:
            self.switch.pass_through()
            file = self._partials.pop(publication.partial)
            self._blobs[publication.purpose, publication.digest] = file.on_disk
            self.switch.pass_through()

    def adopt(self, file: Path, purpose: Purpose, digest: Digest) -> None:
        self.switch.pass_through()
        self._blobs[purpose, digest] = file.read_bytes()
        file.unlink()

    def discard_partial(self, name: str) -> None:
        self.switch.pass_through()
        self._partials.pop(name, None)

    def partials(self) -> list[str]:
        self.switch.pass_through()
        return sorted(self._partials)

    def path(self, purpose: Purpose, digest: Digest) -> Path:
        return Path("/lossy") / purpose / digest.hex

    def has(self, purpose: Purpose, digest: Digest) -> bool:
        return (purpose, digest) in self._blobs

    def remove(self, purpose: Purpose, digest: Digest) -> None:
        self.switch.pass_through()
        self._blobs.pop((purpose, digest), None)
        self.switch.pass_through()

    def put_receipts(self, receipts: Sequence[bytes]) -> Sequence[ReceiptPlace]:
        self.switch.pass_through()
        first = len(self.receipts)
        self.receipts.extend(receipts)
        self.switch.pass_through()
        return [ReceiptPlace(1, first + number, len(body)) for number, body in enumerate(receipts)]

    def read_receipt(self, place: ReceiptPlace) -> bytes:
        return self.receipts[place.offset]

    def free_bytes(self) -> int:
        held = sum(len(file.shown) for file in self._partials.values())
        return self.capacity_bytes - held - sum(len(data) for data in self._blobs.values())
