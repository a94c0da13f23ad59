"""Receipts, verified once more from the bytes kept in the spool, at the moment a file is to be erased (I1).

A mark in the journal would be enough for an honest disk. Erasing the last copy outside the collector is the one step
that cannot be taken back, so it trusts nothing but the log key.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.offload.settings import ReleaseTools
from agent.release.errors import LogHaltedError, ReceiptUnprovenError
from agent.spool.journal import Journal
from protocol.checkpoint import Checkpoint, open_checkpoint
from protocol.digest import Digest
from protocol.errors import ProtocolError
from protocol.receipt import Receipt
from protocol.statements import Manifest
from protocol.verify import VerifiedReceipt, verify_receipt


@dataclass(frozen=True, slots=True)
class Proven:
    """What a receipt proves: these bytes are stored, at this log index."""

    digest: Digest
    stored_index: int


class Proofs:
    """Proofs for one round of release; each receipt is verified once in it. Blocking code for threads."""

    def __init__(self, journal: Journal, tools: ReleaseTools) -> None:
        """Raises LogHaltedError."""
        if tools.log_halted():
            raise LogHaltedError("the log contradicted itself; nothing is erased until a person has looked")
        self._journal = journal
        self._log_key = tools.log_key
        note = journal.last_checkpoint()
        self._seen = None if note is None else open_checkpoint(note, tools.log_key)
        self._proven: dict[Digest, Proven] = {}

    def of(self, manifest: Digest) -> Proven:
        """Raises ReceiptUnprovenError, SpoolError, JournalError."""
        if manifest not in self._proven:
            self._proven[manifest] = self._prove(manifest)
        return self._proven[manifest]

    def _prove(self, manifest: Digest) -> Proven:
        data = self._journal.receipt(manifest)
        if data is None:
            raise ReceiptUnprovenError(f"the receipt for {manifest} is not in the spool")
        try:
            verified = verify_receipt(Receipt.from_bytes(data), self._log_key)
            self._check_known_log(verified.checkpoint)
        except ProtocolError as error:
            raise ReceiptUnprovenError(f"the receipt for {manifest} ({error.code}): {error}") from error
        return _proven(manifest, verified)

    def _check_known_log(self, checkpoint: Checkpoint) -> None:
        """The receipt came when the station had proven that its checkpoint belongs to the log it has watched."""
        seen = self._seen
        if seen is None or checkpoint.size > seen.size:
            raise ReceiptUnprovenError("the receipt is of a log this station has not yet seen")
        if checkpoint.size == seen.size and checkpoint.root != seen.root:
            raise ReceiptUnprovenError("the receipt is of another log than the one this station has seen")


def _proven(manifest: Digest, verified: VerifiedReceipt) -> Proven:
    promise = verified.promise
    if verified.stored.statement != manifest or not isinstance(promise, Manifest):
        raise ReceiptUnprovenError(f"the receipt kept for {manifest} is for {verified.stored.statement}")
    return Proven(digest=promise.digest, stored_index=verified.stored_index)
