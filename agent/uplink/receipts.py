"""Receipts back: verified here, by the station itself, before anything is believed. Only this closes a delivery.

A receipt that came twice, or late, or for a delivery already closed, changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from agent.spool.journal import Journal
from agent.spool.records import Delivery, VerifiedDelivery
from agent.uplink.batch import Batcher
from agent.uplink.errors import ReceiptInvalidError, ReceiptMismatchError
from agent.uplink.log_watch import LogWatch
from agent.uplink.state import Clock
from protocol.digest import Digest
from protocol.errors import ProtocolError
from protocol.note import VerifierKey
from protocol.receipt import Receipt
from protocol.verify import VerifiedReceipt, verify_receipt

_log = logging.getLogger(__name__)

SettledListener = Callable[[Digest], None]
"""Told, on the event loop, that a delivery needs no more work."""


class ReceiptDesk:
    """Takes receipts from whichever way they come. Safe for many tasks at once."""

    def __init__(
        self,
        *,
        journal: Journal,
        watch: LogWatch,
        log_key: VerifierKey,
        now: Clock,
    ) -> None:
        self._journal = journal
        self._watch = watch
        self._log_key = log_key
        self._now = now
        self._batcher: Batcher[VerifiedDelivery] = Batcher(self._settle, name="receipts")
        self.on_settled: SettledListener = lambda _: None

    async def close(self) -> None:
        await self._batcher.close()

    async def accept(self, data: bytes) -> bool:
        """Verify and keep one receipt; when this returns it is durable. False if no open delivery waits for it.

        Raises ReceiptInvalidError, ReceiptMismatchError; ForkError and what ``LogWatch.check`` raises when the log
        cannot be proven now: then nothing was kept, and the receipt can be fetched again.
        """
        receipt = await asyncio.to_thread(_parse, data)
        delivery = await asyncio.to_thread(self._journal.delivery, receipt.statement)
        if delivery is None:
            return False
        _check_names(receipt, delivery)
        verified = await asyncio.to_thread(_verify, receipt, self._log_key)
        await self._watch.check(verified.checkpoint_note)
        await self._batcher.put(
            VerifiedDelivery(
                statement=delivery.statement, receipt=data, checkpoint_note=verified.checkpoint_note
            )
        )
        _log.info("receipted", extra={"statement": str(delivery.statement), "digest": str(delivery.digest)})
        self.on_settled(delivery.statement)
        return True

    def _settle(self, batch: Sequence[VerifiedDelivery]) -> None:
        """In a thread. The newest checkpoint goes with every receipt, so that an older one verified meanwhile never
        takes the journal's memory of the log back."""
        newest = self._watch.newest_note()
        self._journal.settle_receipts(
            [
                VerifiedDelivery(
                    statement=item.statement,
                    receipt=item.receipt,
                    checkpoint_note=newest or item.checkpoint_note,
                )
                for item in batch
            ],
            self._now(),
        )


def _parse(data: bytes) -> Receipt:
    try:
        return Receipt.from_bytes(data)
    except ProtocolError as error:
        raise ReceiptInvalidError(f"not a receipt ({error.code}): {error}") from error


def _verify(receipt: Receipt, log_key: VerifierKey) -> VerifiedReceipt:
    try:
        return verify_receipt(receipt, log_key)
    except ProtocolError as error:
        raise ReceiptInvalidError(f"the receipt does not verify ({error.code}): {error}") from error


def _check_names(receipt: Receipt, delivery: Delivery) -> None:
    named = (receipt.agency, receipt.digest, receipt.size_bytes)
    promised = (delivery.agency, delivery.digest, delivery.size_bytes)
    if named != promised:
        raise ReceiptMismatchError(f"the receipt is for {named}, this station promised {promised}")
