"""The log's writer: appends batches, signs checkpoints, makes proofs. One instance per log, calls one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from collector.log.tile_files import LogMissingError, TileFiles
from protocol.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from protocol.errors import ProofError
from protocol.log_reading import LogCopy, read_entries
from protocol.merkle import EMPTY_ROOT, make_consistency_proof, make_inclusion_proof, tree_root
from protocol.note import SignerKey, VerifierKey
from protocol.tiles import ENTRIES, TILE_WIDTH, Tile, TileHashReader, grow, parse_bundle
from protocol.tlog_proof import TlogProof


class LogWriter:
    """The evidence log (存证日志) as its only writer sees it.

    ``append`` returns when entries and the checkpoint that covers them are durable. If it raises, the entries may
    nevertheless be in the log ("reported failed but stored"): call ``reload`` and look before trying again.
    """

    def __init__(self, files: TileFiles, signer: SignerKey) -> None:
        self._files = files
        self._signer = signer
        empty = Checkpoint(origin=signer.name, size=0, root=EMPTY_ROOT)
        self._state: tuple[Checkpoint, bytes | None] = (empty, None)

    @property
    def key(self) -> VerifierKey:
        return self._signer.verifier

    @property
    def checkpoint(self) -> Checkpoint:
        """The last checkpoint known to be durable."""
        return self._state[0]

    @property
    def checkpoint_note(self) -> bytes:
        """The same as a signed note. Raises LogMissingError before the first."""
        return self._published()[1]

    def reload(self) -> None:
        """Take up the stored checkpoint and make it durable: a power cut must not take back what was published.

        Raises ProtocolError if this log's key did not sign it or the stored tiles do not lead to its root.
        """
        note = self._files.checkpoint()
        if note is None:
            return
        checkpoint = open_checkpoint(note, self.key)
        if tree_root(checkpoint.size, self._hashes(checkpoint)) != checkpoint.root:
            raise ProofError(f"the stored tiles do not have the root of the log of {checkpoint.size} entries")
        self._files.swap_checkpoint(note, note)
        self._state = (checkpoint, note)

    def append(self, entries: Sequence[bytes]) -> int:
        """Append a batch; returns the index of its first entry."""
        old, old_note = self._state
        growth = grow(old_size=old.size, old_root=old.root, entries=entries, read=self._files.read)
        self._files.write(growth.tiles)
        new = Checkpoint(origin=old.origin, size=growth.size, root=growth.root)
        note = sign_checkpoint(new, self._signer)
        self._files.swap_checkpoint(old_note, note)
        self._state = (new, note)  # at once: other threads make proofs from it
        self._files.drop_partials(growth.tiles)
        return old.size

    def entries(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Entries of the durable log as (index, bytes)."""
        return read_entries(LogCopy(b"", self._files.read), start, end, self.checkpoint.size)

    def entries_at(self, indices: Iterable[int]) -> dict[int, bytes]:
        """Single entries of the durable log by index; each bundle is read once. Raises ProofError beyond its end."""
        size = self.checkpoint.size
        found: dict[int, bytes] = {}
        for bundle, group in groupby(sorted(set(indices)), lambda index: index // TILE_WIDTH):
            wanted = list(group)
            if wanted[-1] >= size:
                raise ProofError(f"a log of {size} entries has none at {wanted[-1]}")
            tile = Tile(level=ENTRIES, index=bundle, width=min(TILE_WIDTH, size - bundle * TILE_WIDTH))
            entries = parse_bundle(self._files.read(tile), tile.width)
            found.update((index, entries[index % TILE_WIDTH]) for index in wanted)
        return found

    def prove(self, indices: Sequence[int]) -> tuple[TlogProof, ...]:
        """Inclusion proofs of these entries, all under the current checkpoint."""
        checkpoint, note = self._published()
        size, hashes = checkpoint.size, self._hashes(checkpoint)
        return tuple(
            TlogProof(
                index=index, hashes=tuple(make_inclusion_proof(index, size, hashes)), checkpoint_note=note
            )
            for index in indices
        )

    def prove_consistency(self, old_size: int, new_size: int) -> list[bytes]:
        """That the log of ``new_size`` extends that of ``old_size``, any two sizes up to the current one.

        Raises ProofError for others. It is read from the tiles of today: those of ``new_size`` were never written
        if no batch ended there.
        """
        checkpoint = self.checkpoint
        if new_size > checkpoint.size:
            raise ProofError(f"the log has {checkpoint.size} entries, not yet {new_size}")
        return make_consistency_proof(old_size, new_size, self._hashes(checkpoint))

    def _hashes(self, checkpoint: Checkpoint) -> TileHashReader:
        return TileHashReader(checkpoint.size, self._files.read)

    def _published(self) -> tuple[Checkpoint, bytes]:
        checkpoint, note = self._state
        if note is None:
            raise LogMissingError("the log has no checkpoint yet")
        return checkpoint, note
