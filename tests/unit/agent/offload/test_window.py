"""Does early delivery get from memory only what the recorder gave?"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.offload.window import WINDOW_PIECES, Window

SLOT_BYTES = 4


def new_slot() -> memoryview:
    return memoryview(bytearray(SLOT_BYTES))


def read_into(window: Window, start: int, content: bytes) -> None:
    piece = content[start : start + SLOT_BYTES]
    window.slot(start)[: len(piece)] = piece


@given(st.binary(min_size=1, max_size=200), st.integers(0, 30), st.data())
def test_what_is_copied_is_what_was_read(content: bytes, pieces: int, data: st.DataObject) -> None:
    window = Window(new_slot)
    window.widen()
    starts = range(0, len(content), SLOT_BYTES)[:pieces]
    for start in starts:
        read_into(window, start, content)
    known = min(len(content), len(starts) * SLOT_BYTES)
    offset = data.draw(st.integers(0, max(0, known - 1)))
    wanted = data.draw(st.integers(1, 10))
    into = memoryview(bytearray(wanted))
    count = window.copy(offset, into[: max(0, min(wanted, known - offset))])
    assert bytes(into[:count]) == content[offset : offset + count]
    if starts and offset >= starts[-1]:
        assert count > 0, "the newest piece is always there"


def test_only_the_last_pieces_are_kept() -> None:
    window = Window(new_slot)
    window.widen()
    content = bytes(range(4 * (WINDOW_PIECES + 1)))
    for start in range(0, len(content), SLOT_BYTES):
        read_into(window, start, content)
    into = memoryview(bytearray(SLOT_BYTES))
    assert window.copy(0, into) == 0
    assert window.copy(SLOT_BYTES, into) == SLOT_BYTES


def test_without_anybody_who_takes_pieces_one_buffer_is_used_again_and_again() -> None:
    made: list[memoryview] = []

    def counted() -> memoryview:
        made.append(new_slot())
        return made[-1]

    window = Window(counted)
    for start in range(0, 40, SLOT_BYTES):
        window.slot(start)
    assert len(made) == 1


def test_a_piece_that_is_overtaken_while_it_is_copied_does_not_count() -> None:
    window = Window(new_slot)
    window.slot(0)[:] = b"aaaa"

    class Into:
        """A buffer in which the reading thread overtakes: its first write is when the slot is used again."""

        def __len__(self) -> int:
            return SLOT_BYTES

        def __setitem__(self, _key: slice, _value: memoryview) -> None:
            window.slot(SLOT_BYTES)[:] = b"bbbb"

    assert window.copy(0, Into()) == 0  # type: ignore[arg-type]
