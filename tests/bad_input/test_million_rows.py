"""Listings as long as a card full of photographs, and longer ones made to exhaust whoever reads them."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from itertools import chain, islice, repeat

import pytest

from protocol.errors import ProtocolError
from protocol.limits import MAX_LISTING_ROWS
from protocol.listing import MAX_ROW_BYTES, parse_listing

MILLION = 1_000_000
MAX_GROWTH_KIB = 32 * 1024
"""The listing itself has 100 MB."""


def lines(count: int) -> Iterator[bytes]:
    """Rows as a station writes them, a thousand to a chunk."""
    row = b'{"modified_at":"2026-01-31T00:15:30.123Z","path":"%07d.JPG","size_bytes":5,"state":"to_read"}\n'
    for first in range(0, count, 1000):
        yield b"".join(row % number for number in range(first, first + 1000))


def peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_a_listing_of_a_million_rows_needs_the_memory_of_a_few() -> None:
    assert sum(1 for _ in parse_listing(lines(1000))) == 1000
    before = peak_kib()
    found, size_bytes = 0, 0
    for row in parse_listing(lines(MILLION)):
        found, size_bytes = found + 1, size_bytes + row.size_bytes
    assert (found, size_bytes) == (MILLION, 5 * MILLION)
    assert peak_kib() - before < MAX_GROWTH_KIB


def test_rows_without_end_are_refused_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_LISTING_ROWS == 2 * MILLION
    monkeypatch.setattr("protocol.listing.MAX_LISTING_ROWS", 5000)
    with pytest.raises(ProtocolError) as refused:
        for _ in parse_listing(lines(MILLION)):
            pass
    assert refused.value.code == "limit-exceeded"


@pytest.mark.parametrize(
    ("chunks", "code"),
    [
        (repeat(b"x" * 1000), "limit-exceeded"),
        (chain([b'{"path":"'], repeat(b"a" * 4000)), "limit-exceeded"),
        ([b"[" * MAX_ROW_BYTES + b"\n"], "limit-exceeded"),
        ([b"[" * (MAX_ROW_BYTES - 1) + b"\n"], "malformed"),
        ([b'{"path":"\\ud800","size_bytes":5,"state":"to_read"}\n'], "malformed"),
        ([b'{"path":"\\ud800","path_b64":"YQ==","size_bytes":5,"state":"to_read"}\n'], "malformed"),
        ([b'{"modified_at":null,"path":"a","path":"a","size_bytes":5,"state":"to_read"}\n'], "malformed"),
        ([b'{"modified_at":null,"path":"a","size_bytes":NaN,"state":"to_read"}\n'], "malformed"),
        (
            [b'{"modified_at":null,"path":"a","size_bytes":' + b"9" * 5000 + b',"state":"to_read"}\n'],
            "malformed",
        ),
        ([b"\xff\n"], "malformed"),
        ([b"null\n"], "malformed"),
        (islice(repeat(b"\n"), 3), "malformed"),
    ],
    ids=[
        "no newline",
        "endless path",
        "one byte too long",
        "as deep as it is long",
        "surrogate",
        "surrogate beside bytes",
        "a member twice",
        "no number",
        "too long a number",
        "no text",
        "no object",
        "empty lines",
    ],
)
def test_what_is_no_listing_ends_with_a_code(chunks: Iterator[bytes], code: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        for _ in parse_listing(chunks):
            pass
    assert refused.value.code == code
