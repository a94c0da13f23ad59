"""Receipts (回执): the statements of one blob's chain, each with its C2SP tlog-proof under one checkpoint.

``protocol.verify`` says what a receipt proves. This module only reads and writes the form.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

from protocol.canonical import Fields, canonical, parse_json
from protocol.digest import Digest
from protocol.dsse import Envelope
from protocol.errors import MalformedError, UnknownKindError
from protocol.limits import MAX_ORIGINAL_BYTES, MAX_RECEIPT_BYTES
from protocol.tlog_proof import TlogProof, parse_tlog_proof

RECEIPT_TYPE: Final = "application/vnd.zhilu.receipt+json"

_VERSION: Final = 1
_MAX_ITEMS: Final = 32
"""Two enrolments, three statements, one stored, and room for revocations and further collector keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptItem:
    """One statement and the proof that its entry is in the log."""

    envelope: Envelope
    proof: TlogProof

    @classmethod
    def from_json(cls, value: object) -> Self:
        fields = Fields(value, "receipt.items")
        proof = fields.text("proof", max_chars=MAX_RECEIPT_BYTES)
        return cls(
            envelope=Envelope.from_json(fields.raw("envelope")), proof=parse_tlog_proof(proof.encode())
        )

    def to_json(self) -> dict[str, object]:
        return {"envelope": self.envelope.to_json(), "proof": self.proof.to_bytes().decode()}

    def to_bytes(self) -> bytes:
        """RFC 8785 bytes."""
        return canonical(self.to_json())


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """That the blob ``digest``, promised by ``statement``, is stored. Items stand in log order."""

    agency: str
    statement: Digest
    digest: Digest
    size_bytes: int
    items: tuple[ReceiptItem, ...]

    def __post_init__(self) -> None:
        if not 0 < len(self.items) <= _MAX_ITEMS:
            raise MalformedError(f"a receipt has 1 to {_MAX_ITEMS} items")
        indices = [item.proof.index for item in self.items]
        if indices != sorted(set(indices)):
            raise MalformedError("the items of a receipt stand in log order, each once")

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse without trusting. Raises MalformedError, LimitError, UnknownKindError."""
        return cls.from_json(parse_json(data, max_bytes=MAX_RECEIPT_BYTES, what="receipt"))

    @classmethod
    def from_json(
        cls, value: object, read_item: Callable[[object], ReceiptItem] = ReceiptItem.from_json
    ) -> Self:
        """As ``from_bytes``. ``read_item`` may remember items it has read before."""
        fields = Fields(value, "receipt")
        if fields.text("type") != RECEIPT_TYPE or fields.integer("v") != _VERSION:
            raise UnknownKindError("not a receipt of a known version")
        receipt = cls(
            agency=fields.text("agency"),
            statement=fields.digest("statement"),
            digest=fields.digest("digest"),
            size_bytes=fields.integer("size_bytes", maximum=MAX_ORIGINAL_BYTES),
            items=tuple(read_item(item) for item in fields.items("items", max_items=_MAX_ITEMS)),
        )
        fields.check_critical()
        return receipt

    def to_bytes(self, write_item: Callable[[ReceiptItem], bytes] = ReceiptItem.to_bytes) -> bytes:
        """RFC 8785 bytes. ``write_item`` may remember what it wrote: receipts of one batch share most items."""
        head = canonical({"agency": self.agency, "digest": str(self.digest)})
        tail = canonical(
            {
                "size_bytes": self.size_bytes,
                "statement": str(self.statement),
                "type": RECEIPT_TYPE,
                "v": _VERSION,
            }
        )
        return b'%s,"items":[%s],%s' % (head[:-1], b",".join(map(write_item, self.items)), tail[1:])
