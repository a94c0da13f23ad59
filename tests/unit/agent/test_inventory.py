"""Does every scanned entry become one row in one state, read in the right order, with claims only where names agree?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import product
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.inventory import (
    KnownFile,
    VisitTally,
    list_rows,
    moment,
    no_earlier_reads,
    plan_reading,
    row_of,
    summarise,
)
from agent.ports import Obstacle, ScannedEntry
from firmware_profiles.identity import IdentityClaims
from firmware_profiles.load import load_registry
from firmware_profiles.names import NameClaims
from firmware_profiles.schema import Profile
from protocol.claims import Claim
from protocol.digest import Digest
from protocol.listing import MAX_SIZE_BYTES, ListingRow, RowState, encode_listing, parse_listing

SHANGHAI = ZoneInfo("Asia/Shanghai")
PROFILES = {profile.id: profile for profile in load_registry().profiles}
N1, GENERIC, DROP = PROFILES["name_n1"], PROFILES["generic"], PROFILES["network_drop"]
NOON_NS = 1_769_832_000_123_456_789


def entry(
    raw_path: bytes, size_bytes: int = 5, modified_ns: int | None = NOON_NS, obstacle: Obstacle | None = None
) -> ScannedEntry:
    return ScannedEntry(raw_path=raw_path, size_bytes=size_bytes, modified_ns=modified_ns, obstacle=obstacle)


def row(
    found: ScannedEntry, profile: Profile = N1, known: Mapping[KnownFile, Digest] | None = None
) -> ListingRow:
    return row_of(found, profile, recorder="2JA0001", known=(known or {}).get)


def n1(stamp: str, *, recorder: str = "2JA0001", officer: str = "012345", folder: str = "") -> bytes:
    return f"{folder}{recorder}_{officer}_{stamp}.mp4".encode()


def rooted(*roots: str) -> Profile:
    return Profile.from_table(
        {
            "schema": 1,
            "id": "own",
            "version": "1.0.0",
            "title": {"zh": "某", "en": "some"},
            "match": {"rank": 1, "fallback": True},
            "media": {"roots": list(roots), "kinds": {}},
            "identity": {"recorder": ["volume label"], "volume_label": "REC(?P<recorder>[0-9]+)"},
            "reading": {"order": ["newest"]},
        }
    )


@pytest.mark.parametrize(
    ("found", "state", "rule"),
    [
        (entry(b"a.mp4"), RowState.TO_READ, None),
        (entry(b"a.unknown"), RowState.TO_READ, None),
        (entry(b"empty", 0), RowState.TO_READ, None),
        (entry(b"Logs/a.log"), RowState.TO_READ, None),
        (entry(b"System Volume Information/x"), RowState.EXCLUDED, "windows-system-folder"),
        (entry(b"DCIM/._a.mp4"), RowState.EXCLUDED, "macos-metadata"),
        (entry(b"Config/a.ini"), RowState.EXCLUDED, "recorder-internal"),
        (entry(b"link", 0, obstacle=Obstacle.SYMBOLIC_LINK), RowState.EXCLUDED, "symbolic-link"),
        (entry(b"fifo", 0, obstacle=Obstacle.NOT_A_REGULAR_FILE), RowState.EXCLUDED, "not-a-regular-file"),
        (entry(b"dir", 0, None, Obstacle.UNREADABLE_FOLDER), RowState.UNREADABLE, "folder-unreadable"),
        (entry(b"x", 0, None, Obstacle.UNREADABLE_ENTRY), RowState.UNREADABLE, "entry-unreadable"),
        (entry(b"Temp", 0, None, Obstacle.UNREADABLE_FOLDER), RowState.EXCLUDED, "recorder-internal"),
        (entry(b"big", 2**40), RowState.TO_READ, None),
        (entry(b"big", 2**40 + 1), RowState.UNREADABLE, "file-too-large"),
        (entry(b"huge", 2**63 - 1), RowState.UNREADABLE, "file-too-large"),
    ],
)
def test_each_entry_has_its_state_and_reason(found: ScannedEntry, state: RowState, rule: str | None) -> None:
    made = row(found)
    assert (made.state, made.rule) == (state, rule)
    assert made.size_bytes == min(found.size_bytes, MAX_SIZE_BYTES)


def test_files_outside_the_media_roots_are_listed_with_that_reason() -> None:
    made = row(entry(b"other/a.mp4"), rooted("/Media"))
    assert (made.state, made.rule) == (RowState.EXCLUDED, "outside-media-roots")
    assert row(entry(b"media/a.mp4"), rooted("/Media")).state is RowState.TO_READ


def known_file(**changes: object) -> KnownFile:
    values = {"recorder": "2JA0001", "raw_path": b"a.mp4", "size_bytes": 5, "modified_ns": NOON_NS} | changes
    return KnownFile(**values)  # type: ignore[arg-type]


def test_an_unchanged_file_names_its_earlier_manifest() -> None:
    manifest = Digest.of(b"manifest")
    made = row(entry(b"a.mp4"), known={known_file(): manifest})
    assert (made.state, made.manifest) == (RowState.KNOWN, manifest)


@pytest.mark.parametrize(
    "changes",
    [{"recorder": "other"}, {"raw_path": b"A.mp4"}, {"size_bytes": 6}, {"modified_ns": NOON_NS + 1}],
)
def test_a_file_that_differs_in_anything_is_read_again(changes: dict[str, object]) -> None:
    assert row(entry(b"a.mp4"), known={known_file(**changes): Digest.of(b"")}).state is RowState.TO_READ


def test_a_file_without_time_and_one_that_is_excluded_are_never_known() -> None:
    everything = lambda _: Digest.of(b"")  # noqa: E731
    for found, state in [(entry(b"a", 5, None), RowState.TO_READ), (entry(b"._a"), RowState.EXCLUDED)]:
        assert row_of(found, N1, recorder="r", known=everything).state is state


@pytest.mark.parametrize(
    ("modified_ns", "expected"),
    [
        (NOON_NS, datetime(2026, 1, 31, 4, 0, 0, 123000, tzinfo=UTC)),
        (-1, datetime(1969, 12, 31, 23, 59, 59, 999000, tzinfo=UTC)),
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (2**63 * 10**9, None),
        (-(2**63) * 10**9, None),
        (None, None),
    ],
)
def test_a_time_is_cut_to_milliseconds_or_left_out(
    modified_ns: int | None, expected: datetime | None
) -> None:
    assert moment(modified_ns) == expected


def test_a_name_listed_twice_is_one_row() -> None:
    rows = list_rows([entry(b"b"), entry(b"a"), entry(b"b", 9)], N1, recorder="r", known=no_earlier_reads)
    assert [(made.raw_path, made.size_bytes) for made in rows] == [(b"a", 5), (b"b", 5)]


def test_marked_files_are_read_first_then_the_newest() -> None:
    paths = [
        n1("20260101080000"),
        n1("20260103080000"),
        n1("20260102080000", folder="Media/IMP/"),
        n1("20251231080000", folder="Media/IMP/"),
        n1("20261399080000"),
        b"undated",
        b"._ignored",
    ]
    february_ns = 1_770_000_000_000_000_000
    entries = [entry(path, 5, None if path == b"undated" else february_ns) for path in paths]
    rows = list_rows(entries, N1, recorder="r", known=no_earlier_reads)
    planned = plan_reading(rows, N1, SHANGHAI)
    expected = [paths[number] for number in (2, 3, 4, 1, 0, 5)]
    assert [plan.row.raw_path for plan in planned] == expected
    assert all(rows[plan.number] is plan.row for plan in planned)
    assert [plan.claims.marked for plan in planned] == [True, True, False, False, False, False]


def test_the_order_of_reading_is_the_profiles() -> None:
    rows = list_rows(
        [entry(b"a", 5, 1), entry(b"IMP/b", 5, 0)], rooted("/"), recorder="r", known=no_earlier_reads
    )
    assert [plan.row.raw_path for plan in plan_reading(rows, rooted("/"), SHANGHAI)] == [b"IMP/b", b"a"]


def test_the_summary_adds_up_and_says_who_it_is() -> None:
    entries = [
        entry(n1("20260101080000"), 10),
        entry(n1("20260101090000"), 20),
        entry(b"._x", 3),
        entry(b"d", 0, None, Obstacle.UNREADABLE_FOLDER),
        entry(b"a.mp4"),
    ]
    rows = list_rows(entries, N1, recorder="2JA0001", known={known_file(): Digest.of(b"")}.get)
    summary = summarise(rows, N1, SHANGHAI, label=None)
    counts = (summary.listed, summary.to_read, summary.excluded, summary.known, summary.unreadable)
    assert counts == (5, 2, 1, 1, 1)
    assert (summary.listed_bytes, summary.to_read_bytes) == (38, 30)
    assert summary.recorder == Claim("2JA0001", "name")
    assert summary.officer == Claim("012345", "name")
    assert summary.conflicts == ()


def test_names_that_disagree_claim_nobody_and_say_so() -> None:
    entries = [
        entry(n1("20260101080000", officer="111111")),
        entry(n1("20260101090000", officer="222222")),
        entry(n1("20260101100000", officer="222222")),
    ]
    rows = list_rows(entries, N1, recorder="r", known=no_earlier_reads)
    summary = summarise(rows, N1, SHANGHAI, label=None)
    assert summary.recorder == Claim("2JA0001", "name")
    assert summary.officer is None
    assert summary.conflicts == ("officer: 2 different values by name: 222222 (2), 111111 (1)",)


def test_excluded_files_are_not_asked_who_they_are() -> None:
    entries = [
        entry(n1("20260101080000")),
        entry(n1("20260101080000", officer="999999", folder="$RECYCLE.BIN/")),
    ]
    rows = list_rows(entries, N1, recorder="r", known=no_earlier_reads)
    assert summarise(rows, N1, SHANGHAI, label=None).officer == Claim("012345", "name")


def test_the_label_speaks_where_the_profile_says_so() -> None:
    summary = summarise([], rooted("/"), SHANGHAI, label="REC42")
    assert (summary.recorder, summary.officer) == (Claim("42", "volume label"), None)


NAMES = st.binary(min_size=1, max_size=12).filter(
    lambda name: b"/" not in name and b"\0" not in name and name.strip(b".")
)
ENTRIES = st.lists(
    st.builds(
        entry,
        st.lists(NAMES | st.sampled_from([b"IMP", b"Temp", b"._x"]), min_size=1, max_size=3).map(b"/".join),
        st.integers(0, 2**63),
        st.none() | st.integers(-(2**70), 2**70),
        st.none() | st.sampled_from(Obstacle),
    ),
    max_size=20,
)


@given(entries=ENTRIES, profile=st.sampled_from(list(PROFILES.values())))
def test_whatever_is_scanned_is_listed_and_adds_up(entries: list[ScannedEntry], profile: Profile) -> None:
    rows = list_rows(entries, profile, recorder="r", known=no_earlier_reads)
    assert [made.raw_path for made in rows] == sorted({found.raw_path for found in entries})
    assert list(parse_listing(encode_listing(rows))) == rows
    summary = summarise(rows, profile, SHANGHAI, label=None)
    states = Counter(made.state for made in rows)
    assert (
        summary.listed == summary.to_read + summary.excluded + summary.known + summary.unreadable == len(rows)
    )
    assert summary.to_read == states[RowState.TO_READ] == len(plan_reading(rows, profile, SHANGHAI))


def drop_rows(*recorders: str) -> list[ListingRow]:
    names = [n1(f"202601{day:02}080000", recorder=recorder) for day, recorder in enumerate(recorders, 1)]
    return list_rows([entry(name) for name in names], DROP, recorder="r", known=no_earlier_reads)


def test_sources_that_disagree_claim_nobody_and_both_are_said() -> None:
    marker = IdentityClaims(recorder=Claim("ZFY0042", "marker file"))
    rows = drop_rows("ZFY0043", "ZFY0043")
    summary = summarise(rows, DROP, SHANGHAI, label=None, others=[marker])
    assert summary.recorder is None
    assert summary.conflicts == (
        "recorder: 2 different values by marker file, name: ZFY0043 (2), ZFY0042 (1)",
    )


def test_sources_that_agree_are_one_claim_whatever_the_letter_case() -> None:
    marker = IdentityClaims(recorder=Claim("zfy0042", "marker file"))
    summary = summarise(drop_rows("ZFY0042"), DROP, SHANGHAI, label=None, others=[marker])
    assert (summary.recorder, summary.conflicts) == (Claim("zfy0042", "marker file"), ())


def test_a_card_full_of_spellings_cannot_hide_a_contradiction() -> None:
    spellings = ["".join(letters) for letters in product("zZ", repeat=7)]
    tally = VisitTally(DROP, label=None)
    row = drop_rows("ZFY0042")[0]
    for value in spellings:
        tally.add(row, NameClaims(recorder=Claim(value, "name")))
    assert tally.summary().recorder == Claim("ZZZZZZZ", "name")
    tally.add(row, NameClaims(recorder=Claim("ZFY0042", "name")))
    assert tally.summary().recorder is None


def test_a_million_different_numbers_need_no_memory_of_them() -> None:
    tally = VisitTally(DROP, label=None)
    row = drop_rows("ZFY0042")[0]
    for number in range(5000):
        tally.add(row, NameClaims(recorder=Claim(f"{number:07}", "name")))
    (note,) = tally.summary().conflicts
    assert note.startswith("recorder: 100 different values by name: 0000000 (1), ")
