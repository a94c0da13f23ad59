"""Receipts, made on demand from the log: nothing about them is kept, so none can disagree with the log."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from collector.catalogue import Catalogue, Promise
from collector.errors import CollectorError
from collector.log.writer import LogWriter
from collector.objects import ObjectClass, ObjectStore
from protocol.digest import Digest
from protocol.entry import LogEntry
from protocol.receipt import Receipt, ReceiptItem
from protocol.tlog_proof import TlogProof


class StatementUnknownError(CollectorError):
    """No such statement, or none that promises bytes, or another agency's."""

    code = "statement-unknown"
    status = 404
    fault = "caller"


class ReceiptPendingError(CollectorError):
    """The statement is in the log, its bytes are not stored yet."""

    code = "receipt-pending"
    status = 404
    retryable = True
    fault = "caller"


class Receipts:
    """Makes receipts, and the proofs of single entries."""

    def __init__(self, *, log: LogWriter, objects: ObjectStore, catalogue: Catalogue) -> None:
        self._log = log
        self._objects = objects
        self._catalogue = catalogue

    async def make(self, statement: Digest, agencies: frozenset[str] | None = None) -> Receipt:
        """The receipt for the blob ``statement`` promises, if it belongs to one of ``agencies`` (None: to any).

        Raises StatementUnknownError, ReceiptPendingError.
        """
        promise, chain = await asyncio.to_thread(self._look_up, statement, agencies)
        return Receipt(
            agency=promise.agency,
            statement=statement,
            digest=promise.digest,
            size_bytes=promise.size_bytes,
            items=await self.items(chain),
        )

    def _look_up(self, statement: Digest, agencies: frozenset[str] | None) -> tuple[Promise, Sequence[int]]:
        promise = self._catalogue.promise(statement)
        if promise is None or not (agencies is None or promise.agency in agencies):
            raise StatementUnknownError(f"no statement {statement} that promises bytes is known")
        if promise.stored_index is None:
            raise ReceiptPendingError(f"the bytes promised by {statement} are not stored yet")
        chain = self._catalogue.chain(statement)
        if chain is None:
            raise ReceiptPendingError(f"a statement that {statement} builds on is not in the log yet")
        return promise, chain

    async def items(self, indices: Sequence[int]) -> tuple[ReceiptItem, ...]:
        """The statements at these log indices, ascending, with their proofs under one checkpoint."""
        entries, proofs = await asyncio.to_thread(self._read, indices)
        payloads = await asyncio.gather(*(self._payload(entry) for entry in entries))
        return tuple(
            ReceiptItem(envelope=entry.envelope(payload), proof=proof)
            for entry, payload, proof in zip(entries, payloads, proofs, strict=True)
        )

    def _read(self, indices: Sequence[int]) -> tuple[list[LogEntry], tuple[TlogProof, ...]]:
        entries = [LogEntry.from_bytes(data) for i in indices for _, data in self._log.entries(i, i + 1)]
        return entries, self._log.prove(indices)

    async def _payload(self, entry: LogEntry) -> bytes:
        return await self._objects.read(entry.agency, ObjectClass.STATEMENTS, entry.statement)
