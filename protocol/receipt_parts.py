"""What many receipts have in common, checked once: receipts of one batch share checkpoint, enrolments and inventory.

Remembered is only the result of checks that depend on nothing but the bytes they are given, under exactly those bytes,
and only when they passed. So a receipt verified with shared parts passes if and only if it passes alone; what ties
its parts to each other is checked for each receipt anew. Memory grows with what is new in each receipt: make a new
``ReceiptParts`` for each batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from protocol.checkpoint import Checkpoint, open_checkpoint
from protocol.dsse import STATEMENT_TYPE, Envelope
from protocol.entry import LogEntry
from protocol.merkle import leaf_hash, verify_inclusion
from protocol.note import VerifierKey
from protocol.receipt import Receipt, ReceiptItem
from protocol.statements import Statement, parse_statement


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadEntry:
    """A statement, the entry that commits to it, and that entry's hash as a leaf of the log."""

    statement: Statement
    entry: LogEntry
    leaf: bytes


class OwnStatements(Protocol):
    """Statements the caller signed itself. One that comes back equal to the last byte, signature included, is what it
    was: it need not be parsed, and its signature not be verified, once more."""

    @property
    def public_key(self) -> bytes:
        """Of the key they are signed with."""

    def find(self, envelope: Envelope) -> Statement | None:
        """What this very envelope was made from, None when it is not one of them."""


class ReceiptParts:
    """The parts of one batch of receipts under one log key. One thread at a time."""

    def __init__(self, log_key: VerifierKey, own: OwnStatements | None = None) -> None:
        self.log_key = log_key
        self._own = own
        self._items: dict[tuple[object, ...], ReceiptItem] = {}
        self._checkpoints: dict[bytes, Checkpoint] = {}
        self._entries: dict[Envelope, ReadEntry] = {}
        self._included: set[tuple[object, ...]] = set()
        self._signed: set[tuple[Envelope, bytes]] = set()

    def receipt(self, value: object) -> Receipt:
        """A receipt from parsed JSON, unverified. Raises as ``Receipt.from_json``."""
        return Receipt.from_json(value, self._item)

    def _item(self, value: object) -> ReceiptItem:
        key = _item_key(value)
        if key is None:
            return ReceiptItem.from_json(value)
        if key not in self._items:
            self._items[key] = ReceiptItem.from_json(value)
        return self._items[key]

    def checkpoint(self, note: bytes) -> Checkpoint:
        """Raises as ``open_checkpoint``."""
        if note not in self._checkpoints:
            self._checkpoints[note] = open_checkpoint(note, self.log_key)
        return self._checkpoints[note]

    def entry(self, envelope: Envelope) -> ReadEntry:
        """Raises as ``parse_statement``."""
        if envelope not in self._entries:
            own = None if self._own is None else self._own.find(envelope)
            statement = own or parse_statement(envelope.payload)
            entry = LogEntry.of(envelope, statement)
            leaf = leaf_hash(entry.to_bytes())
            self._entries[envelope] = ReadEntry(statement=statement, entry=entry, leaf=leaf)
        return self._entries[envelope]

    def require_included(self, leaf: bytes, index: int, hashes: tuple[bytes, ...], under: Checkpoint) -> None:
        """Raises as ``verify_inclusion``."""
        key = (leaf, index, hashes, under.size, under.root)
        if key not in self._included:
            verify_inclusion(leaf, index, under.size, hashes, under.root)
            self._included.add(key)

    def require_signed(self, envelope: Envelope, public_key: bytes) -> None:
        """Raises SignatureError unless the key signed this as a statement."""
        key = (envelope, public_key)
        if key not in self._signed and not self._is_own(envelope, public_key):
            envelope.verify(public_key, STATEMENT_TYPE)
            self._signed.add(key)

    def _is_own(self, envelope: Envelope, public_key: bytes) -> bool:
        own = self._own
        return own is not None and own.public_key == public_key and own.find(envelope) is not None


def _item_key(value: object) -> tuple[object, ...] | None:
    """Everything of an item that is read, if it has the usual form; two items with one key are read alike."""
    match value:
        case {
            "proof": str(proof),
            "envelope": {
                "payload": str(payload),
                "payloadType": str(kind),
                "signatures": [{"keyid": str(key_id), "sig": str(signature)}],
            },
        }:
            return proof, payload, kind, key_id, signature
    return None
