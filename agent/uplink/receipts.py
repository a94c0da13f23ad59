"""Receipts back: verified here, by the station itself, before anything is believed. Only this closes a delivery.

They are worked on together: what those of one batch share is verified once, and all are kept under one flush. A receipt
that came twice, or late, or for a delivery already closed, changes nothing.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from agent.errors import AgentError
from agent.spool.journal import Journal
from agent.spool.records import Delivery, VerifiedDelivery
from agent.uplink.batch import Together
from agent.uplink.errors import ReceiptInvalidError, ReceiptMismatchError
from agent.uplink.log_watch import LogWatch
from agent.uplink.state import Clock
from protocol.canonical import parse_json
from protocol.digest import Digest
from protocol.errors import ProtocolError
from protocol.limits import MAX_RECEIPT_BYTES
from protocol.note import VerifierKey
from protocol.receipt import Receipt
from protocol.receipt_parts import OwnStatements, ReceiptParts
from protocol.verify import verify_receipt_with

_log = logging.getLogger(__name__)

_ONE_LINE: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), check_circular=False)
"""How receipts are kept: the same JSON in ASCII, which is its canonical form wherever that is ASCII too."""

SettledListener = Callable[[Sequence[Digest]], None]
"""Told, on the event loop, that deliveries need no more work."""

Outcome: TypeAlias = bool | AgentError | ProtocolError
"""Of one receipt: True when it closed a delivery and is durable, False when none waits for it, or what was wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """A receipt that could be read, and the JSON it was."""

    receipt: Receipt
    value: object


@dataclass(frozen=True, slots=True, kw_only=True)
class _Examined:
    """A receipt that verifies, for a delivery that waits for it."""

    delivery: Delivery
    data: bytes
    checkpoint_note: bytes


_Found: TypeAlias = _Examined | Outcome


class ReceiptDesk:
    """Takes receipts from whichever way they come. Safe for many tasks at once."""

    def __init__(
        self,
        *,
        journal: Journal,
        watch: LogWatch,
        log_key: VerifierKey,
        now: Clock,
        made: OwnStatements | None = None,
    ) -> None:
        """``made``: what this station signed itself."""
        self._journal = journal
        self._watch = watch
        self._log_key = log_key
        self._now = now
        self._made = made
        self._pushed: Together[bytes, Outcome] = Together(self.accept_all, name="receipts")
        self.on_settled: SettledListener = lambda _: None

    async def close(self) -> None:
        await self._pushed.close()

    async def accept(self, data: bytes) -> bool:
        """Verify and keep one receipt, with others that come meanwhile; when this returns it is durable. False if no
        open delivery waits for it.

        Raises ReceiptInvalidError, ReceiptMismatchError; ForkError and what ``LogWatch.check`` raises when the log
        cannot be proven now: then nothing was kept, and the receipt can be fetched again.
        """
        outcome = await self._pushed.put(data)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def accept_all(self, offered: Sequence[object]) -> list[Outcome]:
        """As ``accept`` for each, given as bytes or as parsed JSON; the outcomes in their order. Raises SpoolError,
        JournalError: then nothing was kept."""
        found = await asyncio.to_thread(self._examine, offered)
        refused = await self._watch_notes(found)
        good = [item for item in found if isinstance(item, _Examined) and item.checkpoint_note not in refused]
        if good:
            await asyncio.to_thread(self._settle, good)
            statements = [item.delivery.statement for item in good]
            _log.info("receipted", extra={"receipts": len(good), "first": str(statements[0])})
            self.on_settled(statements)
        return [
            refused.get(item.checkpoint_note, True) if isinstance(item, _Examined) else item for item in found
        ]

    async def _watch_notes(self, found: Sequence[_Found]) -> Mapping[bytes, Outcome]:
        """The checkpoints that cannot be accepted, and why."""
        refused: dict[bytes, Outcome] = {}
        for note in dict.fromkeys(item.checkpoint_note for item in found if isinstance(item, _Examined)):
            try:
                await self._watch.check(note)
            except (AgentError, ProtocolError) as error:
                refused[note] = error
        return refused

    def _examine(self, offered: Sequence[object]) -> list[_Found]:
        """In a thread."""
        parts = ReceiptParts(self._log_key, self._made)
        read = [_read(item, parts) for item in offered]
        statements = [item.receipt.statement for item in read if isinstance(item, _Read)]
        waiting = self._journal.deliveries(statements)
        return [
            _verify(item, waiting.get(item.receipt.statement), parts) if isinstance(item, _Read) else item
            for item in read
        ]

    def _settle(self, batch: Sequence[_Examined]) -> None:
        """In a thread. The newest checkpoint goes with every receipt, so that an older one verified meanwhile never
        takes the journal's memory of the log back."""
        newest = self._watch.newest_note()
        self._journal.settle_receipts(
            [
                VerifiedDelivery(
                    statement=item.delivery.statement,
                    receipt=item.data,
                    checkpoint_note=newest or item.checkpoint_note,
                )
                for item in batch
            ],
            self._now(),
        )


def _read(offered: object, parts: ReceiptParts) -> _Read | ReceiptInvalidError:
    try:
        if isinstance(offered, bytes):
            offered = parse_json(offered, max_bytes=MAX_RECEIPT_BYTES, what="receipt")
        return _Read(receipt=parts.receipt(offered), value=offered)
    except ProtocolError as error:
        return ReceiptInvalidError(f"not a receipt ({error.code}): {error}")


def _verify(read: _Read, delivery: Delivery | None, parts: ReceiptParts) -> _Found:
    if delivery is None:
        return False
    receipt = read.receipt
    named = (receipt.agency, receipt.digest, receipt.size_bytes)
    promised = (delivery.agency, delivery.digest, delivery.size_bytes)
    if named != promised:
        return ReceiptMismatchError(f"the receipt is for {named}, this station promised {promised}")
    try:
        verified = verify_receipt_with(receipt, parts)
    except ProtocolError as error:
        return ReceiptInvalidError(f"the receipt does not verify ({error.code}): {error}")
    data = _ONE_LINE.encode(read.value).encode()
    return _Examined(delivery=delivery, data=data, checkpoint_note=verified.checkpoint_note)
