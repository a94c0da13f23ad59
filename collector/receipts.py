"""Receipts, made on demand from the log: nothing about them is kept, so none can disagree with the log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from collector.catalogue import Catalogue, Promise
from collector.errors import CollectorError
from collector.log.writer import LogWriter
from collector.objects import ObjectClass, ObjectStore
from protocol.digest import Digest
from protocol.entry import LogEntry
from protocol.receipt import Receipt, ReceiptItem
from protocol.tlog_proof import TlogProof

logger = logging.getLogger(__name__)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptsMade:
    """What became of each of many statements asked for. ``receipts`` are their bytes."""

    receipts: Mapping[Digest, bytes]
    pending: tuple[Digest, ...]
    unknown: tuple[Digest, ...]


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
        promises, chains = await asyncio.to_thread(self._look_up, [statement], agencies)
        if statement not in promises:
            raise StatementUnknownError(f"no statement {statement} that promises bytes is known")
        if promises[statement].stored_index is None:
            raise ReceiptPendingError(f"the bytes promised by {statement} are not stored yet")
        if statement not in chains:
            raise ReceiptPendingError(f"a statement that {statement} builds on is not in the log yet")
        return _receipt(promises[statement], await self.items(chains[statement]))

    async def make_all(
        self, statements: Sequence[Digest], agencies: frozenset[str] | None = None
    ) -> ReceiptsMade:
        """As ``make`` for many, all under one checkpoint; what they have in common is made once."""
        asked = list(dict.fromkeys(statements))
        promises, chains = await asyncio.to_thread(self._look_up, asked, agencies)
        found = await self._items(sorted({index for chain in chains.values() for index in chain}))
        whole = {one: chains[one] for one in asked if one in chains and found.keys() >= set(chains[one])}
        return ReceiptsMade(
            receipts=await asyncio.to_thread(_write_all, promises, whole, found),
            pending=tuple(one for one in asked if one in promises and one not in whole),
            unknown=tuple(one for one in asked if one not in promises),
        )

    def _look_up(
        self, statements: Sequence[Digest], agencies: frozenset[str] | None
    ) -> tuple[dict[Digest, Promise], dict[Digest, tuple[int, ...]]]:
        promises = {
            statement: promise
            for statement, promise in self._catalogue.promises(statements).items()
            if agencies is None or promise.agency in agencies
        }
        stored = [one for one, promise in promises.items() if promise.stored_index is not None]
        return promises, self._catalogue.chains(stored)

    async def items(self, indices: Sequence[int]) -> tuple[ReceiptItem, ...]:
        """The statements at these log indices, ascending, with their proofs under one checkpoint."""
        found = await self._items(indices, strict=True)
        return tuple(found[index] for index in indices)

    async def _items(self, indices: Sequence[int], *, strict: bool = False) -> dict[int, ReceiptItem]:
        """By index; those whose payload cannot be read are left out, if ``strict`` that is raised."""
        entries, proofs = await asyncio.to_thread(self._read, indices)
        payloads = await self._objects.read_all(
            [(entry.agency, ObjectClass.STATEMENTS, entry.statement) for entry in entries]
        )
        found: dict[int, ReceiptItem] = {}
        for entry, payload, proof in zip(entries, payloads, proofs, strict=True):
            if isinstance(payload, bytes):
                found[proof.index] = ReceiptItem(envelope=entry.envelope(payload), proof=proof)
            elif strict:
                raise payload
            else:
                logger.error("receipts.payload_unreadable index=%d code=%s", proof.index, payload.code)
        return found

    def _read(self, indices: Sequence[int]) -> tuple[list[LogEntry], tuple[TlogProof, ...]]:
        entries = self._log.entries_at(indices)
        return [LogEntry.from_bytes(entries[index]) for index in indices], self._log.prove(indices)


def _receipt(promise: Promise, items: tuple[ReceiptItem, ...]) -> Receipt:
    return Receipt(
        agency=promise.agency,
        statement=promise.statement,
        digest=promise.digest,
        size_bytes=promise.size_bytes,
        items=items,
    )


def _write_all(
    promises: Mapping[Digest, Promise],
    chains: Mapping[Digest, Sequence[int]],
    items: Mapping[int, ReceiptItem],
) -> dict[Digest, bytes]:
    written = {index: item.to_bytes() for index, item in items.items()}
    return {
        statement: _receipt(promises[statement], tuple(items[index] for index in chain)).to_bytes(
            lambda item: written[item.proof.index]
        )
        for statement, chain in chains.items()
    }
