"""The log's writer: appends batches, signs checkpoints, makes proofs. One instance per log, calls one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from collector.log.tile_files import LogMissingError, TileFiles
from protocol.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from protocol.log_reading import LogCopy, read_entries
from protocol.merkle import EMPTY_ROOT, make_consistency_proof, make_inclusion_proof
from protocol.note import SignerKey, VerifierKey
from protocol.tiles import TileHashReader, grow
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
        """Take up the stored checkpoint. Raises ProtocolError if this log's key did not sign it."""
        note = self._files.checkpoint()
        if note is not None:
            self._state = (open_checkpoint(note, self.key), note)

    def append(self, entries: Sequence[bytes]) -> int:
        """Append a batch; returns the index of its first entry."""
        old, old_note = self._state
        growth = grow(old_size=old.size, old_root=old.root, entries=entries, read=self._files.read)
        self._files.write(growth.tiles)
        new = Checkpoint(origin=old.origin, size=growth.size, root=growth.root)
        note = sign_checkpoint(new, self._signer)
        self._files.swap_checkpoint(old_note, note)
        self._state = (new, note)  # at once: other threads make proofs from it
        return old.size

    def entries(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Entries of the durable log as (index, bytes)."""
        return read_entries(LogCopy(b"", self._files.read), start, end, self.checkpoint.size)

    def prove(self, indices: Sequence[int]) -> tuple[TlogProof, ...]:
        """Inclusion proofs of these entries, all under the current checkpoint."""
        checkpoint, note = self._published()
        size, reader = checkpoint.size, TileHashReader(checkpoint.size, self._files.read)
        return tuple(
            TlogProof(
                index=index, hashes=tuple(make_inclusion_proof(index, size, reader)), checkpoint_note=note
            )
            for index in indices
        )

    def prove_consistency(self, old_size: int, new_size: int) -> list[bytes]:
        """That the log of ``new_size`` extends that of ``old_size``. Raises ProofError for impossible sizes."""
        return make_consistency_proof(old_size, new_size, TileHashReader(new_size, self._files.read))

    def _published(self) -> tuple[Checkpoint, bytes]:
        checkpoint, note = self._state
        if note is None:
            raise LogMissingError("the log has no checkpoint yet")
        return checkpoint, note
