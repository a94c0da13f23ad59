"""Do any paths, in any chunks, survive the listing, and is any other bytes refused without a crash?"""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from protocol.digest import Digest
from protocol.errors import ProtocolError
from protocol.listing import ListingRow, RowState, display_path, encode_listing, parse_listing

NAMES = st.one_of(
    st.binary(min_size=1, max_size=20),
    st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable()).map(lambda text: text.encode()),
    st.text("执法记录仪一二三", min_size=1, max_size=10).map(lambda text: text.encode("gbk")),
    st.text('\x01\x1f\x7f\u202e\ufeff\n\t"\\', min_size=1, max_size=5).map(lambda text: text.encode()),
).filter(lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b".."))
PATHS = st.lists(NAMES, min_size=1, max_size=5).map(b"/".join)
TIMES = st.none() | st.datetimes(timezones=st.just(UTC), min_value=datetime(1000, 1, 1)).map(  # noqa: DTZ001
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
)


@st.composite
def rows(draw: st.DrawFn, path: bytes) -> ListingRow:
    state = draw(st.sampled_from(RowState))
    reasoned = state in (RowState.EXCLUDED, RowState.UNREADABLE)
    return ListingRow(
        raw_path=path,
        size_bytes=draw(st.integers(0, 2**53 - 1)),
        modified_at=draw(TIMES),
        state=state,
        rule=draw(st.from_regex(r"[a-z0-9]{1,10}(-[a-z]{1,5})?", fullmatch=True)) if reasoned else None,
        manifest=Digest.of(draw(st.binary(max_size=4))) if state is RowState.KNOWN else None,
    )


LISTINGS = st.sets(PATHS, max_size=8).flatmap(
    lambda paths: st.tuples(*(rows(path) for path in sorted(paths)))
)


@given(listing=LISTINGS, cut=st.integers(1, 200))
def test_a_listing_comes_back_whole_from_chunks_of_any_size(
    listing: tuple[ListingRow, ...], cut: int
) -> None:
    data = b"".join(encode_listing(listing))
    chunks = (data[start : start + cut] for start in range(0, len(data), cut))
    assert tuple(parse_listing(chunks)) == listing


@given(listing=LISTINGS, data=st.data())
def test_a_changed_byte_is_refused_or_is_another_listing(
    listing: tuple[ListingRow, ...], data: st.DataObject
) -> None:
    original = b"".join(encode_listing(listing))
    if not original:
        return
    place = data.draw(st.integers(0, len(original) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda value: value != original[place]))
    changed = original[:place] + bytes([value]) + original[place + 1 :]
    try:
        parsed = tuple(parse_listing([changed]))
    except ProtocolError:
        return
    assert parsed != listing
    assert b"".join(encode_listing(parsed)) == changed


@given(st.binary(max_size=300))
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    try:
        parsed = list(parse_listing([data]))
    except ProtocolError:
        return
    assert b"".join(encode_listing(parsed)) == data


@given(PATHS)
def test_what_is_shown_is_always_text_of_as_many_levels(path: bytes) -> None:
    shown = display_path(path)
    shown.encode("utf-8")
    assert shown.count("/") == path.count(b"/")
