"""Does a photograph's EXIF say what the camera wrote, and does hostile EXIF say nothing?"""

from __future__ import annotations

import struct
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import MediaUnreadableError
from agent.media.exif import ExifFacts, parse_exif, photo_facts
from agent.media.facts import GeoPoint
from tests.support import exif_bytes as tag
from tests.support.exif_bytes import exif_block, with_exif
from tests.support.material import MATERIAL, needs_material

_MAIN: dict[int, tag.Value] = {tag.MAKE: "ACME", tag.MODEL: "DSJ-1", tag.ORIENTATION: 6}
_EXIF: dict[int, tag.Value] = {
    tag.TIME_ORIGINAL: "2026:03:01 16:00:05",
    tag.OFFSET_ORIGINAL: "+08:00",
    tag.BODY_SERIAL: "SN-0042",
}
_GPS: dict[int, tag.Value] = {
    tag.LATITUDE_REF: "S",
    tag.LATITUDE: [(33, 1), (30, 1), (36, 1)],
    tag.LONGITUDE_REF: "E",
    tag.LONGITUDE: [(151, 1), (15, 1), (0, 1)],
    tag.GPS_CLOCK: [(8, 1), (0, 1), (11, 2)],
    tag.GPS_DAY: "2026:03:01",
}


@pytest.mark.parametrize("order", ["<", ">"])
def test_everything_the_camera_wrote_is_read(order: str) -> None:
    facts = parse_exif(exif_block(_MAIN, _EXIF, _GPS, order=order))
    assert facts == ExifFacts(
        orientation=6,
        local_time=datetime(2026, 3, 1, 16, 0, 5),  # noqa: DTZ001  naive by definition
        utc_offset_minutes=480,
        gps_time=datetime(2026, 3, 1, 8, 0, 5, 500_000, tzinfo=UTC),
        make="ACME",
        model="DSJ-1",
        body_serial="SN-0042",
        location=GeoPoint(latitude_deg=-33.51, longitude_deg=151.25),
    )
    assert facts.taken_at == datetime(2026, 3, 1, 8, 0, 5, tzinfo=UTC)


def test_without_an_offset_local_time_is_not_a_point_in_time() -> None:
    facts = parse_exif(exif_block({}, {tag.TIME_ORIGINAL: "2026:03:01 16:00:05"}))
    assert facts.local_time is not None
    assert facts.taken_at is None


@pytest.mark.parametrize(
    "text", ["0000:00:00 00:00:00", "    :  :     :  :  ", "2026-03-01", "2026:13:01 00:00:00"]
)
def test_a_camera_without_clock_has_no_time(text: str) -> None:
    assert parse_exif(exif_block({}, {tag.TIME_ORIGINAL: text})).local_time is None


@pytest.mark.parametrize("text", ["+8:00", "+15:00", "+00:60", "Z", "08:00"])
def test_an_impossible_offset_is_absent(text: str) -> None:
    assert parse_exif(exif_block({}, {tag.OFFSET_ORIGINAL: text})).utc_offset_minutes is None


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_out_of_range_is_upright(value: int) -> None:
    assert parse_exif(exif_block({tag.ORIENTATION: value})).orientation == 1


@pytest.mark.parametrize(
    "broken",
    [
        {tag.LATITUDE: [(33, 0), (0, 1), (0, 1)]},
        {tag.LATITUDE: [(91, 1), (0, 1), (0, 1)]},
        {tag.LATITUDE_REF: "E"},
        {tag.LATITUDE: [(33, 1)]},
    ],
)
def test_an_impossible_place_is_absent(broken: dict[int, tag.Value]) -> None:
    assert parse_exif(exif_block({}, None, {**_GPS, **broken})).location is None


def test_the_size_is_the_headers() -> None:
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 11, 8, 64, 96, 1) + b"\x01\x11\x00"
    facts = photo_facts(with_exif(b"\xff\xd8" + frame, exif_block(_MAIN)))
    assert (facts.width, facts.height, facts.orientation) == (96, 64, 6)


@pytest.mark.parametrize("head", [b"", b"GIF89a", b"just text", b"\xff\xd8"])
def test_what_is_no_picture_is_unreadable(head: bytes) -> None:
    with pytest.raises(MediaUnreadableError):
        photo_facts(head)


def test_tags_that_overlap_to_cost_minutes_are_given_up() -> None:
    """5,000 entries of 999 values each, all from the same bytes: five million reads if nobody counts."""
    entries = b"".join(struct.pack("<HHII", 0x9000 + i % 200, 4, 999, 8) for i in range(5000))
    block = b"II*\x00" + struct.pack("<I", 8) + struct.pack("<H", 5000) + entries + bytes(4)
    assert len(block) < 65_536
    assert parse_exif(block) == ExifFacts()


def test_directories_that_point_at_themselves_end() -> None:
    loop = struct.pack("<HHHIIHHII", 2, tag.EXIF_IFD, 4, 1, 8, tag.GPS_IFD, 4, 1, 8) + struct.pack("<I", 8)
    parse_exif(b"II*\x00" + struct.pack("<I", 8) + loop)


@settings(deadline=None)
@given(data=st.data())
def test_damaged_blocks_never_crash(data: st.DataObject) -> None:
    block = bytearray(exif_block(_MAIN, _EXIF, _GPS))
    for _ in range(data.draw(st.integers(1, 6))):
        block[data.draw(st.integers(8, len(block) - 1))] = data.draw(st.integers(0, 255))
    parse_exif(bytes(block[: data.draw(st.integers(0, len(block)))]))


@settings(deadline=None)
@given(rest=st.binary(max_size=400))
def test_any_block_is_facts(rest: bytes) -> None:
    parse_exif(b"MM\x00*" + rest)


@needs_material
@pytest.mark.parametrize("name", ["DSCN0010.jpg", "DSCN0012.jpg", "DSCN0021.jpg"])
def test_real_photographs_are_described(name: str) -> None:
    facts = photo_facts((MATERIAL / "samples/media" / name).read_bytes())
    assert (facts.make, facts.model, facts.width, facts.height) == ("NIKON", "COOLPIX P6000", 640, 480)
    assert facts.location is not None
    assert facts.location.latitude_deg == pytest.approx(43.467, abs=0.001)
    assert facts.location.longitude_deg == pytest.approx(11.885, abs=0.001)
    assert facts.local_time is not None
    assert facts.local_time.date().isoformat() == "2008-10-22"
    assert facts.gps_time is not None
