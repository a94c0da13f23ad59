"""Does a disk that is nearly full refuse early, and one sender leave room for the others?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.core.room import FLOOR_BYTES, StagingRoom, require_room
from collector.errors import StagingShareError, StorageFullError

GIB = 1 << 30


def room(
    free: int, *, total: int = 1000 * GIB, coming: int = 0, staged: int = 0, claimed: int = 0
) -> StagingRoom:
    return StagingRoom(
        free_bytes=free, total_bytes=total, coming_bytes=coming, staged_bytes=staged, claimed_bytes=claimed
    )


def test_what_fits_may_begin() -> None:
    require_room(room(100 * GIB), 8 * GIB)


@pytest.mark.parametrize(
    ("now", "size"),
    [(room(GIB), 1), (room(9 * GIB), 9 * GIB), (room(100 * GIB, coming=95 * GIB), 5 * GIB), (room(0), 1)],
)
def test_what_would_take_the_last_bytes_may_not(now: StagingRoom, size: int) -> None:
    with pytest.raises(StorageFullError) as caught:
        require_room(now, size)
    assert (caught.value.code, caught.value.status, caught.value.retryable) == ("storage-full", 507, True)


def test_a_small_disk_is_not_all_reserve() -> None:
    require_room(room(100_000_000, total=200_000_000), 1_000_000)


def test_a_sender_with_a_backlog_leaves_room_for_others() -> None:
    crowded = room(25 * GIB, staged=76 * GIB, claimed=76 * GIB)
    with pytest.raises(StagingShareError) as caught:
        require_room(crowded, GIB)
    assert (caught.value.code, caught.value.status, caught.value.retryable) == (
        "staging-share-used",
        507,
        True,
    )
    require_room(room(25 * GIB, staged=76 * GIB, claimed=0), GIB)


@given(free=st.integers(0, 2000 * GIB), coming=st.integers(0, 100 * GIB), size=st.integers(0, 100 * GIB))
def test_the_floor_stays_free_whatever_was_let_in(free: int, coming: int, size: int) -> None:
    try:
        require_room(room(free, coming=coming), size)
    except StorageFullError:
        return
    assert free - coming - size >= FLOOR_BYTES or size == 0
