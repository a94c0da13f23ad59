"""Does the listing have one byte form, and does reading refuse every other?"""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from protocol.digest import Digest
from protocol.errors import LimitError, MalformedError, ProtocolError
from protocol.listing import (
    MAX_ROW_BYTES,
    MAX_SIZE_BYTES,
    ListingRow,
    RowState,
    check_raw_path,
    display_path,
    encode_listing,
    parse_listing,
)

TIME = datetime(2026, 1, 31, 0, 15, 30, 123000, tzinfo=UTC)
GBK_PATH = b"DCIM/" + "执法_01.mp4".encode("gbk")


def to_read(raw_path: bytes) -> ListingRow:
    return ListingRow(raw_path=raw_path, size_bytes=5, modified_at=TIME, state=RowState.TO_READ)


def test_a_plain_row_is_this_line() -> None:
    assert to_read(b"DCIM/a.mp4").to_bytes() == (
        b'{"modified_at":"2026-01-31T00:15:30.123Z","path":"DCIM/a.mp4","size_bytes":5,"state":"to_read"}\n'
    )


def test_a_path_that_is_not_utf8_travels_as_text_and_as_bytes() -> None:
    members = json.loads(to_read(GBK_PATH).to_bytes())
    assert members["path"] == "DCIM/执法_01.mp4"
    assert members["path_b64"] == "RENJTS/WtLeoXzAxLm1wNA=="


@pytest.mark.parametrize(
    ("raw_path", "shown"),
    [
        ("视频/a".encode(), "视频/a"),
        (b"\xff\xfe/a", "\ufffd\ufffd/a"),
        ("视频/".encode() + "执法".encode("gbk"), "视频/执法"),
        (b"\xff/" + "执法".encode("gbk"), "\ufffd/执法"),
    ],
)
def test_each_name_of_a_path_is_shown_by_its_own_encoding(raw_path: bytes, shown: str) -> None:
    assert display_path(raw_path) == shown


def test_states_carry_what_belongs_to_them() -> None:
    digest = Digest.of(b"")
    rows = [
        ListingRow(
            raw_path=b"a", size_bytes=0, modified_at=None, state=RowState.EXCLUDED, rule="trash-folder"
        ),
        ListingRow(raw_path=b"b", size_bytes=0, modified_at=TIME, state=RowState.KNOWN, manifest=digest),
        to_read(b"c"),
        ListingRow(
            raw_path=b"d", size_bytes=0, modified_at=None, state=RowState.UNREADABLE, rule="folder-unreadable"
        ),
    ]
    assert list(parse_listing(encode_listing(rows))) == rows


@pytest.mark.parametrize(
    ("state", "rule", "manifest"),
    [
        (RowState.TO_READ, "a-rule", None),
        (RowState.TO_READ, None, Digest.of(b"")),
        (RowState.EXCLUDED, None, None),
        (RowState.EXCLUDED, "Not A Rule", None),
        (RowState.EXCLUDED, "-rule", None),
        (RowState.UNREADABLE, None, None),
        (RowState.KNOWN, None, None),
        (RowState.KNOWN, "a-rule", Digest.of(b"")),
    ],
)
def test_a_state_without_its_reason_or_with_anothers_is_refused(
    state: RowState, rule: str | None, manifest: Digest | None
) -> None:
    with pytest.raises(MalformedError):
        ListingRow(raw_path=b"a", size_bytes=0, modified_at=None, state=state, rule=rule, manifest=manifest)


@pytest.mark.parametrize(
    "raw_path", [b"", b"/a", b"a/", b"a//b", b"..", b"a/../b", b"./a", b"a/.", b"a\0b", b"a/" * 2048 + b"a"]
)
def test_an_unsafe_path_is_refused(raw_path: bytes) -> None:
    with pytest.raises(ProtocolError):
        check_raw_path(raw_path)


@pytest.mark.parametrize("raw_path", [b"...", b"..a/b", b"a\\b", b"-rf", b"\n", b"\xff", b"a" * 4096])
def test_a_strange_but_harmless_path_is_taken(raw_path: bytes) -> None:
    assert list(parse_listing([to_read(raw_path).to_bytes()])) == [to_read(raw_path)]


@pytest.mark.parametrize(
    "line",
    [
        b'{"modified_at":null,"path":"a","size_bytes":5,"state":"to_read"}',  # no newline
        b'{"modified_at":null, "path":"a","size_bytes":5,"state":"to_read"}\n',
        b'{"path":"a","modified_at":null,"size_bytes":5,"state":"to_read"}\n',
        b'{"modified_at":null,"path":"\\u0061","size_bytes":5,"state":"to_read"}\n',
        b'{"modified_at":null,"path":"a","path":"a","size_bytes":5,"state":"to_read"}\n',
        b'{"modified_at":null,"more":1,"path":"a","size_bytes":5,"state":"to_read"}\n',
        b'{"modified_at":null,"path":"a","rule":null,"size_bytes":5,"state":"to_read"}\n',
        b'{"modified_at":null,"path":"a","size_bytes":5.0,"state":"to_read"}\n',
        b'{"modified_at":null,"path":"a","size_bytes":-5,"state":"to_read"}\n',
        b'{"modified_at":null,"path":"a","size_bytes":true,"state":"to_read"}\n',
        b'{"modified_at":null,"path":"a","size_bytes":9007199254740992,"state":"to_read"}\n',
        b'{"modified_at":null,"path":"a","size_bytes":5,"state":"lost"}\n',
        b'{"modified_at":"2026-01-31T00:15:30Z","path":"a","size_bytes":5,"state":"to_read"}\n',
        b'{"path":"a","size_bytes":5,"state":"to_read"}\n',
        b'{"modified_at":null,"path":"../a","size_bytes":5,"state":"to_read"}\n',
        b'{"modified_at":null,"path":"a","path_b64":"YQ==","size_bytes":5,"state":"to_read"}\n',
        b'{"modified_at":null,"path":"b","path_b64":"YQ==","size_bytes":5,"state":"to_read"}\n',
        b'{"modified_at":null,"path":"x/y","path_b64":"/w==","size_bytes":5,"state":"to_read"}\n',
        b'{"modified_at":null,"path":"a","path_b64":"/x==","size_bytes":5,"state":"to_read"}\n',
        b'{"modified_at":null,"path":"\\ud800","size_bytes":5,"state":"to_read"}\n',
        b'{"modified_at":null,"path":"a","size_bytes":NaN,"state":"to_read"}\n',
        b"[]\n",
        b"\n",
        b"\xff\n",
        b"[" * 20_000 + b"\n",
        b'{"a":' * 5_000 + b"\n",
    ],
)
def test_any_other_spelling_of_a_row_is_refused(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        list(parse_listing([line]))


def test_a_name_that_is_not_utf8_may_be_shown_as_the_writer_reads_it() -> None:
    line = b'{"modified_at":null,"path":"x","path_b64":"/w==","size_bytes":5,"state":"to_read"}\n'
    (row,) = parse_listing([line])
    assert (row.raw_path, row.path) == (b"\xff", "x")


@pytest.mark.parametrize("paths", [[b"b", b"a"], [b"a", b"a"], [b"a/b", b"a.b"]])
def test_rows_out_of_order_or_twice_are_refused_both_ways(paths: list[bytes]) -> None:
    rows = [to_read(path) for path in paths]
    with pytest.raises(MalformedError):
        list(encode_listing(rows))
    with pytest.raises(MalformedError):
        list(parse_listing(row.to_bytes() for row in rows))


def test_a_line_without_end_is_refused_before_it_fills_the_memory() -> None:
    def endless() -> object:
        while True:
            yield b"x" * 1000

    with pytest.raises(LimitError):
        list(parse_listing(endless()))  # type: ignore[arg-type]


@pytest.mark.parametrize("raw_path", [b"\x01" * 4095 + b"\xff", b"\xff" * 4096, b"\x01" * 4096])
def test_the_worst_path_still_fits_a_row(raw_path: bytes) -> None:
    row = ListingRow(
        raw_path=raw_path,
        size_bytes=MAX_SIZE_BYTES,
        modified_at=TIME,
        state=RowState.EXCLUDED,
        rule="r" * 64,
    )
    assert len(row.to_bytes()) <= MAX_ROW_BYTES
    assert list(parse_listing([row.to_bytes()])) == [row]


def test_more_rows_than_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protocol.listing.MAX_LISTING_ROWS", 2)
    with pytest.raises(LimitError):
        list(encode_listing(to_read(name) for name in (b"a", b"b", b"c")))


def test_an_empty_listing_is_no_bytes() -> None:
    assert list(encode_listing([])) == []
    assert list(parse_listing([])) == []


def test_times_that_cannot_be_written_exactly_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="milliseconds"):
        ListingRow(
            raw_path=b"a", size_bytes=0, modified_at=TIME.replace(microsecond=1), state=RowState.TO_READ
        )
