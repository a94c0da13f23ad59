"""Is a receipt read as it was written, and refused in any other form, before anything in it is believed?"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from protocol.errors import LimitError, MalformedError, ProtocolError, UnknownCriticalError, UnknownKindError
from protocol.limits import MAX_RECEIPT_BYTES
from protocol.receipt import RECEIPT_TYPE, Receipt
from tests.support.evidence import Story

RECEIPT = Story().receipt()


def value() -> Any:
    return json.loads(RECEIPT.to_bytes())


def changed(**members: object) -> bytes:
    return json.dumps(
        {name: member for name, member in (value() | members).items() if member is not ...}
    ).encode()


def item(**members: object) -> dict[str, object]:
    first: dict[str, object] = value()["items"][0]
    return first | members


def test_a_receipt_is_read_as_it_was_written() -> None:
    assert Receipt.from_bytes(RECEIPT.to_bytes()) == RECEIPT
    assert Receipt.from_bytes(RECEIPT.to_bytes()).to_bytes() == RECEIPT.to_bytes()


def test_it_says_what_it_is_and_what_it_is_for() -> None:
    read = value()
    assert set(read) == {"type", "v", "agency", "statement", "digest", "size_bytes", "items"}
    assert (read["type"], read["v"], len(read["items"])) == (RECEIPT_TYPE, 1, 5)
    assert read["items"][3]["proof"].startswith("c2sp.org/tlog-proof@v1\nindex 3\n")


def test_it_may_be_laid_out_for_people() -> None:
    assert Receipt.from_bytes(json.dumps(value(), indent=2, ensure_ascii=False).encode()) == RECEIPT


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        changed(agency=...),
        changed(statement="sha256:0"),
        changed(digest=None),
        changed(size_bytes=-1),
        changed(size_bytes=2**40 + 1),
        changed(items=[]),
        changed(items={}),
        changed(items=[1]),
        changed(items=[item(proof="")]),
        changed(items=[item(proof="index 0")]),
        changed(items=[item(envelope=None)]),
        changed(items=[item(envelope={})]),
        changed(items=value()["items"] * 7),
        changed(items=value()["items"][::-1]),
        changed(items=value()["items"][:1] * 2),
    ],
)
def test_what_is_no_receipt_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError):
        Receipt.from_bytes(data)


@pytest.mark.parametrize("data", [changed(type="application/json"), changed(v=2)])
def test_another_type_or_version_is_unknown(data: bytes) -> None:
    with pytest.raises(UnknownKindError):
        Receipt.from_bytes(data)


def test_later_members_are_tolerated_unless_critical() -> None:
    assert Receipt.from_bytes(changed(later=1)) == RECEIPT
    with pytest.raises(UnknownCriticalError):
        Receipt.from_bytes(changed(later=1, critical=["later"]))


def test_a_receipt_has_a_largest_size() -> None:
    padded = RECEIPT.to_bytes().ljust(MAX_RECEIPT_BYTES)
    assert Receipt.from_bytes(padded) == RECEIPT
    with pytest.raises(LimitError):
        Receipt.from_bytes(padded + b" ")


def test_items_stand_in_log_order_each_once() -> None:
    with pytest.raises(MalformedError, match="log order"):
        replace(RECEIPT, items=RECEIPT.items[::-1])
    with pytest.raises(MalformedError, match="log order"):
        replace(RECEIPT, items=RECEIPT.items[:1] * 2)


@pytest.mark.parametrize("cut", [1, 100, 1_000])
def test_a_receipt_cut_short_is_refused(cut: int) -> None:
    with pytest.raises(ProtocolError):
        Receipt.from_bytes(RECEIPT.to_bytes()[:-cut])
