"""A log whose files live in a dictionary and can be written to a folder: the pure writer with nothing around it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from protocol.checkpoint import Checkpoint, sign_checkpoint
from protocol.merkle import EMPTY_ROOT, make_inclusion_proof
from protocol.note import SignerKey
from protocol.tiles import Growth, Tile, TileHashReader, grow
from protocol.tlog_proof import TlogProof

ORIGIN = "log.example/collector"


class MemoryLog:
    """Keeps every file ever written, as a log on disk does."""

    def __init__(self, origin: str = ORIGIN, seed: bytes = b"\x07" * 32) -> None:
        self.signer = SignerKey(name=origin, seed=seed)
        self.size = 0
        self.root = EMPTY_ROOT
        self.files: dict[Tile, bytes] = {}

    def append(self, entries: Sequence[bytes]) -> Growth:
        growth = grow(old_size=self.size, old_root=self.root, entries=entries, read=self.read)
        self.files.update(growth.tiles)
        self.size, self.root = growth.size, growth.root
        return growth

    def read(self, tile: Tile) -> bytes:
        return self.files[tile]

    def hashes(self, size: int | None = None) -> TileHashReader:
        return TileHashReader(self.size if size is None else size, self.read)

    def checkpoint(self) -> bytes:
        state = Checkpoint(origin=self.signer.name, size=self.size, root=self.root)
        return sign_checkpoint(state, self.signer)

    def proof(self, index: int) -> TlogProof:
        hashes = tuple(make_inclusion_proof(index, self.size, self.hashes()))
        return TlogProof(index=index, hashes=hashes, checkpoint_note=self.checkpoint())

    def write(self, folder: Path) -> Path:
        """All files, the checkpoint and the ``vkey``, as foreign verifiers expect them. Returns the folder."""
        for tile, data in self.files.items():
            path = folder / tile.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "checkpoint").write_bytes(self.checkpoint())
        (folder / "vkey").write_text(f"{self.signer.verifier}\n")
        return folder
