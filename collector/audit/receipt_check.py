"""The receipt of everything stored, made from log and payloads and verified as its holder would."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from collector.audit.objects import AuditedObjects, ObjectName
from collector.audit.report import Tally
from collector.catalogue import Catalogue, Promise
from collector.errors import CollectorError
from collector.objects import ObjectClass
from collector.progress import Progress
from protocol.checkpoint import Checkpoint
from protocol.entry import LogEntry
from protocol.errors import ProtocolError
from protocol.log_reading import LogCopy
from protocol.merkle import make_inclusion_proof
from protocol.note import VerifierKey
from protocol.receipt import Receipt, ReceiptItem
from protocol.tiles import ENTRIES, TILE_WIDTH, Tile, TileHashReader, parse_bundle
from protocol.tlog_proof import TlogProof
from protocol.verify import verify_receipt

_CACHED_BUNDLES: Final = 64
"""Some 6 MiB: the statements of one clip stand near each other."""


class ReceiptCheck:
    """All receipts are made under the checkpoint of the audit."""

    def __init__(
        self,
        log: LogCopy,
        checkpoint: Checkpoint,
        key: VerifierKey,
        *,
        objects: AuditedObjects,
        catalogue: Catalogue,
        tally: Tally,
        progress: Progress,
    ) -> None:
        self._log = log
        self._size = checkpoint.size
        self._key = key
        self._objects = objects
        self._catalogue = catalogue
        self._tally = tally
        self._progress = progress
        self._hashes = TileHashReader(checkpoint.size, log.read)
        self._bundle = lru_cache(_CACHED_BUNDLES)(self._read_bundle)

    def check(self, promises: Iterable[Promise]) -> None:
        """Each must have a receipt that verifies."""
        for promise in promises:
            self._check_one(promise)
            self._progress("回执 receipts", self._tally.checked, None)

    def _check_one(self, promise: Promise) -> None:
        chain = self._catalogue.chain(promise.statement)
        if chain is None:
            detail = "a statement it builds on is not in the log, or is another's"
            self._tally.problem("receipt-impossible", str(promise.statement), detail)
            return
        try:
            receipt = self._make(promise, chain)
            self._tally.count(promise.size_bytes)
            verified = verify_receipt(Receipt.from_bytes(receipt.to_bytes()), self._key)
        except (ProtocolError, CollectorError) as error:
            self._tally.problem("receipt-invalid", str(promise.statement), f"{error.code}: {error}")
            return
        if verified.stored_index != promise.stored_index:
            detail = f"stored at {verified.stored_index}, and again at {promise.stored_index}"
            self._tally.problem("receipt-invalid", str(promise.statement), detail)

    def _make(self, promise: Promise, chain: Iterable[int]) -> Receipt:
        return Receipt(
            agency=promise.agency,
            statement=promise.statement,
            digest=promise.digest,
            size_bytes=promise.size_bytes,
            items=tuple(self._item(index) for index in chain),
        )

    def _item(self, index: int) -> ReceiptItem:
        entry = LogEntry.from_bytes(self._bundle(index // TILE_WIDTH)[index % TILE_WIDTH])
        name = ObjectName(agency=entry.agency, cls=ObjectClass.STATEMENTS, digest=entry.statement)
        payload = b"".join(self._objects.blocks(name))
        proof = TlogProof(
            index=index,
            hashes=tuple(make_inclusion_proof(index, self._size, self._hashes)),
            checkpoint_note=self._log.checkpoint,
        )
        return ReceiptItem(envelope=entry.envelope(payload), proof=proof)

    def _read_bundle(self, number: int) -> list[bytes]:
        width = min(TILE_WIDTH, self._size - number * TILE_WIDTH)
        return parse_bundle(self._log.read(Tile(level=ENTRIES, index=number, width=width)), width)
