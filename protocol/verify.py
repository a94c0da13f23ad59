"""Whole-chain verification: bytes in, named checks out. Trusts nothing but the log key it is given.

The procedure, in this order; each step relies on those before it:

1. receipt-form      the receipt parses within its limits
2. log-key           its checkpoint is signed by the given log key, and all proofs are under that one checkpoint
3. inclusion         every statement's entry stands in the log at the index it names
4. keys              entry 0 enrols the collector; it enrolled the station for this agency; nobody speaks without
                     being enrolled, for another agency, or after being revoked
5. chain             the statements belong together: rendition, manifest, inventory, stored; same digest, size,
                     visit, station; in an order that can have happened
6. content           the file has the promised size and SHA-256
7. log-history       the log at hand continues the log the receipt was made under, entry by entry
8. log-revocations   the log at hand revokes none of the keys used before their use
9. witness           the receipt's log is the one an earlier checkpoint was taken of

Steps 6 to 9 need the file, a copy of the log, an earlier checkpoint; without them they are reported as skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from protocol.checkpoint import Checkpoint
from protocol.digest import Digest
from protocol.entry import LogEntry
from protocol.errors import (
    ChainError,
    DigestMismatchError,
    ForkError,
    ProofError,
    ProtocolError,
    RevokedError,
)
from protocol.ids import COLLECTOR
from protocol.keyring import KeyRing
from protocol.log_reading import LogCopy, check_entries
from protocol.note import VerifierKey
from protocol.receipt import Receipt
from protocol.receipt_parts import ReceiptParts
from protocol.statements import Inventory, Manifest, Rendition, Statement, Stored

Promise = Inventory | Manifest | Rendition

_PURPOSE_OF: Final = {"inventory": "listing", "manifest": "original", "rendition": "rendition"}
"""What the blob promised by each kind of statement is stored as."""

PASSED: Final = "passed"
FAILED: Final = "failed"
SKIPPED: Final = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One named step and its outcome. ``code`` is the stable error code of a failure."""

    name: str
    outcome: str
    detail: str
    code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What was measured of the file at hand."""

    digest: Digest
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A receipt item, interpreted."""

    index: int
    id: Digest
    entry: LogEntry
    statement: Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedReceipt:
    """What a verified receipt establishes."""

    checkpoint: Checkpoint
    checkpoint_note: bytes
    promise: Promise
    entry_index: int
    stored: Stored
    stored_index: int


def verify_receipt(receipt: Receipt, log_key: VerifierKey) -> VerifiedReceipt:
    """Steps 2 to 5. Raises the ProtocolError of the first step that fails."""
    return verify_receipt_with(receipt, ReceiptParts(log_key))


def verify_receipt_with(receipt: Receipt, parts: ReceiptParts) -> VerifiedReceipt:
    """As ``verify_receipt``, and what earlier receipts of the batch had in common with this one is not done again."""
    procedure = Procedure(parts)
    procedure.take(receipt)
    procedure.check_log_key()
    procedure.check_inclusion()
    procedure.check_keys()
    procedure.check_chain()
    return procedure.result()


def check_receipt(
    receipt: bytes,
    log_key: VerifierKey,
    *,
    content: Content | None = None,
    log: LogCopy | None = None,
    witnessed: bytes | None = None,
) -> list[Check]:
    """All steps, as findings. Never raises ProtocolError; what depends on a failed step is skipped."""
    procedure = Procedure(ReceiptParts(log_key))
    steps: list[tuple[str, Callable[[], str] | None]] = [
        ("receipt-form", lambda: procedure.take(Receipt.from_bytes(receipt))),
        ("log-key", procedure.check_log_key),
        ("inclusion", procedure.check_inclusion),
        ("keys", procedure.check_keys),
        ("chain", procedure.check_chain),
        ("content", None if content is None else lambda: procedure.check_content(content)),
        ("log-history", None if log is None else lambda: procedure.check_history(log)),
        ("log-revocations", None if log is None else procedure.check_revocations),
        ("witness", None if witnessed is None else lambda: procedure.check_witness(witnessed, log)),
    ]
    return list(_run(steps))


def accepted(checks: Sequence[Check]) -> bool:
    """True only if something was checked and nothing failed."""
    return any(check.outcome == PASSED for check in checks) and all(
        check.outcome != FAILED for check in checks
    )


def _run(steps: Sequence[tuple[str, Callable[[], str] | None]]) -> Iterator[Check]:
    failed: str | None = None
    for name, step in steps:
        if failed is not None:
            yield Check(name=name, outcome=SKIPPED, detail=f"relies on {failed}")
        elif step is None:
            yield Check(name=name, outcome=SKIPPED, detail="not given")
        else:
            try:
                yield Check(name=name, outcome=PASSED, detail=step())
            except ProtocolError as error:
                failed = name
                yield Check(name=name, outcome=FAILED, detail=str(error), code=error.code)


@dataclass(slots=True)
class Procedure:
    """The state of one verification. Methods are the steps; call them in order, each returns what it found."""

    parts: ReceiptParts
    _receipt: Receipt | None = None
    _checkpoint: Checkpoint | None = None
    _items: list[Item] = field(default_factory=list)
    _result: VerifiedReceipt | None = None
    _log_entries: list[tuple[int, LogEntry]] = field(default_factory=list)

    def take(self, receipt: Receipt) -> str:
        self._receipt = receipt
        return f"receipt for {receipt.digest}"

    @property
    def receipt(self) -> Receipt:
        assert self._receipt is not None
        return self._receipt

    @property
    def checkpoint(self) -> Checkpoint:
        assert self._checkpoint is not None
        return self._checkpoint

    def result(self) -> VerifiedReceipt:
        """What steps 2 to 5 established."""
        assert self._result is not None
        return self._result

    def check_log_key(self) -> str:
        notes = {item.proof.checkpoint_note for item in self.receipt.items}
        if len(notes) != 1:
            raise ChainError("the proofs of a receipt are under one checkpoint")
        self._checkpoint = self.parts.checkpoint(notes.pop())
        return f"checkpoint of {self._checkpoint.origin}, size {self._checkpoint.size}"

    def check_inclusion(self) -> str:
        for item in self.receipt.items:
            read = self.parts.entry(item.envelope)
            self.parts.require_included(read.leaf, item.proof.index, item.proof.hashes, self.checkpoint)
            self._items.append(
                Item(
                    index=item.proof.index,
                    id=read.entry.statement,
                    entry=read.entry,
                    statement=read.statement,
                )
            )
        return f"{len(self._items)} entries are in the log"

    def check_keys(self) -> str:
        if self._items[0].index != 0:
            raise ChainError("a receipt begins with entry 0, the collector's enrolment")
        ring = KeyRing(self.parts.require_signed)
        for item, raw in zip(self._items, self.receipt.items, strict=True):
            ring.accept(item.index, raw.envelope, item.statement)
        return "every statement is signed by a key enrolled for it and not revoked before"

    def check_chain(self) -> str:
        by_id = {item.id: item for item in self._items}
        target = by_id.get(self.receipt.statement)
        if target is None or not isinstance(target.statement, Inventory | Manifest | Rendition):
            raise ChainError("the receipt does not contain the statement it is for")
        promise = target.statement
        self._check_promise(promise)
        if isinstance(promise, Rendition):
            promise_manifest = _linked(by_id, promise.manifest, Manifest, target)
            if promise_manifest.digest != promise.original:
                raise ChainError("the rendition is of another original than its manifest")
            _check_inventory(by_id, promise_manifest, target)
        elif isinstance(promise, Manifest):
            _check_inventory(by_id, promise, target)
        stored = self._find_stored(target)
        statement = stored.statement
        assert isinstance(statement, Stored)
        self._result = VerifiedReceipt(
            checkpoint=self.checkpoint,
            checkpoint_note=self.receipt.items[0].proof.checkpoint_note,
            promise=promise,
            entry_index=target.index,
            stored=statement,
            stored_index=stored.index,
        )
        early = [
            f"; the manifest at index {manifest.index} came before its inventory at {inventory.index}"
            for manifest, inventory in _manifests_with_inventories(by_id)
            if manifest.index < inventory.index
        ]
        return f"{promise.kind} at index {target.index}, stored at index {stored.index}{''.join(early)}"

    def _check_promise(self, promise: Promise) -> None:
        digest, size_bytes = promised_blob(promise)
        if promise.header.agency != self.receipt.agency:
            raise ChainError("the receipt names another agency than its statement")
        if (digest, size_bytes) != (self.receipt.digest, self.receipt.size_bytes):
            raise ChainError("the receipt names another digest or size than its statement")

    def _find_stored(self, target: Item) -> Item:
        for item in self._items:
            statement = item.statement
            if isinstance(statement, Stored) and statement.statement == target.id:
                if (statement.digest, statement.size_bytes) != (self.receipt.digest, self.receipt.size_bytes):
                    raise ChainError("what was stored is not what was promised")
                if statement.header.agency != self.receipt.agency or item.index < target.index:
                    raise ChainError("stored for another agency, or before it was promised")
                if statement.purpose != _PURPOSE_OF[target.entry.kind]:
                    raise ChainError(f"a {target.entry.kind}'s bytes were stored as a {statement.purpose}")
                return item
        raise ChainError("the receipt has no statement that the bytes are stored")

    def check_content(self, content: Content) -> str:
        if content.digest != self.receipt.digest:
            raise DigestMismatchError(
                "the file is not the one the receipt is for",
                expected=str(self.receipt.digest),
                actual=str(content.digest),
            )
        if content.size_bytes != self.receipt.size_bytes:
            raise ChainError(f"the file has {content.size_bytes} bytes, not {self.receipt.size_bytes}")
        return f"{content.size_bytes} bytes, {content.digest}"

    def check_history(self, log: LogCopy) -> str:
        newest = self.parts.checkpoint(log.checkpoint)
        if newest.size < self.checkpoint.size:
            raise ProofError(
                f"the log at hand ends at {newest.size}, the receipt needs {self.checkpoint.size}: get a newer copy"
            )
        wanted = {item.index: item.entry.to_bytes() for item in self._items}
        self._log_entries = check_entries(log, [self.checkpoint, newest], wanted)
        return f"the log of {newest.size} entries continues the receipt's of {self.checkpoint.size}"

    def check_revocations(self) -> str:
        for item in self._items:
            index = _revoked_before(item, self._log_entries)
            if index is not None:
                raise RevokedError(
                    f"{item.entry.key_id} was revoked at index {index}, before its use at {item.index}"
                )
        return "no key was revoked before its use"

    def check_witness(self, note: bytes, log: LogCopy | None) -> str:
        witnessed = self.parts.checkpoint(note)
        if witnessed.size == self.checkpoint.size:
            if witnessed.root != self.checkpoint.root:
                raise ForkError(f"two logs of {witnessed.size} entries are signed by one key")
            return f"the same checkpoint of {witnessed.size} entries"
        if log is None:
            raise ChainError("another checkpoint can only be compared with a copy of the log")
        newest = self.parts.checkpoint(log.checkpoint)
        if witnessed.size > newest.size:
            raise ProofError(  # an old copy is no crime of the log's
                f"the log at hand ends at {newest.size}, the checkpoint needs {witnessed.size}: get a newer copy"
            )
        check_entries(log, [witnessed, newest], {})
        return f"the log at hand contains the one witnessed at {witnessed.size} entries"


def _manifests_with_inventories(by_id: dict[Digest, Item]) -> Iterator[tuple[Item, Item]]:
    for item in by_id.values():
        if isinstance(item.statement, Manifest) and item.statement.inventory in by_id:
            yield item, by_id[item.statement.inventory]


def promised_blob(promise: Promise) -> tuple[Digest, int]:
    """Digest and size of the blob a statement promises. Raises ChainError for a rendition that was not made."""
    if isinstance(promise, Inventory):
        return promise.listing, promise.listing_size_bytes
    if isinstance(promise, Manifest):
        return promise.digest, promise.size_bytes
    if promise.rendered is None:
        raise ChainError("a rendition that was not made promises no bytes")
    return promise.rendered.digest, promise.rendered.size_bytes


def _revoked_before(item: Item, about_keys: Sequence[tuple[int, LogEntry]]) -> int | None:
    """Where the item's key lost its authority and did not get it back before this use; as ``KeyRing`` counts:
    a collector's key is enrolled and revoked for all agencies at once."""
    agency = COLLECTOR if item.statement.header.signer == COLLECTOR else item.entry.agency
    revoked_index = None
    for index, entry in about_keys:
        if index >= item.index:
            break
        if entry.subject_key_id == item.entry.key_id and entry.agency == agency:
            revoked_index = index if entry.kind == "revoked" else None
    return revoked_index


def _linked(by_id: dict[Digest, Item], wanted: Digest, kind: type[Manifest], source: Item) -> Manifest:
    item = by_id.get(wanted)
    if item is None or not isinstance(item.statement, kind):
        raise ChainError(f"the receipt lacks the {kind.kind} its statement builds on")
    if item.statement.header.agency != source.statement.header.agency:
        raise ChainError("a statement builds on one of another agency")
    return item.statement


def _check_inventory(by_id: dict[Digest, Item], manifest: Manifest, source: Item) -> None:
    item = by_id.get(manifest.inventory)
    if item is None or not isinstance(item.statement, Inventory):
        raise ChainError("the receipt lacks the inventory its manifest builds on")
    inventory = item.statement
    same = (inventory.header.agency, inventory.header.signer, inventory.visit)
    if same != (manifest.header.agency, manifest.header.signer, manifest.visit):
        raise ChainError("manifest and inventory are of different agencies, stations or visits")
    if manifest.row >= inventory.rows:
        raise ChainError(f"the manifest is for row {manifest.row} of an inventory of {inventory.rows}")
