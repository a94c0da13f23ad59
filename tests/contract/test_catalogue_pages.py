"""Lists of clips: every filter, page by page, and always through an index."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from collector.catalogue import MAX_PAGE, Catalogue, Clip, ClipFilter, FindingFilter, Position
from collector.catalogue.catalogue import MIGRATIONS
from collector.catalogue.clips import clips_query
from collector.catalogue.tables import metadata
from collector.catalogue.trail import custody_query
from collector.database.engine import open_engine, reading, sqlite_url
from collector.database.migrating import upgrade
from protocol.claims import TimeClaim
from protocol.digest import Digest
from protocol.listing import ListingRow, RowState
from protocol.statements import Manifest
from tests.support.catalogues import apply_all, catalogue_in
from tests.support.statements import (
    NOW,
    VISIT,
    Log,
    again,
    digest,
    header,
    id_of,
    inventory,
    manifest,
    stored,
)

HOUR = timedelta(hours=1)
SINCE = Position(started_at=NOW, log_index=7)


def _clip(number: int) -> Manifest:
    """Clips that share starts, recorders, officers, contents and agencies in every combination."""
    agency = ("alpha", "beta")[number % 2]
    start = (None, NOW, NOW + HOUR, NOW - HOUR)[number % 4]
    clip = manifest(
        inventory(head=header(agency, "dock-1")),
        content=f"content {number % 5}",
        recorder=(None, "R1", "R2")[number % 3],
        officer=(None, "P1")[number // 3 % 2],
        started_at=None if start is None else TimeClaim(start, "name"),
    )
    return again(clip, number + 1)


CLIPS = [_clip(number) for number in range(60)]
FILTERS = [
    ClipFilter(
        agencies=agencies, recorder=recorder, officer=officer, digest=content, started_from=after, stored=kept
    )
    for agencies, recorder, officer, content, after, kept in product(
        (None, frozenset({"beta"})),
        (None, "R1"),
        (None, "P1"),
        (None, digest("content 2")),
        (None, NOW),
        (None, False),
    )
]


@pytest.fixture(scope="module")
def catalogue() -> Iterator[Catalogue]:
    log = Log()
    log.add(*CLIPS, *(stored(clip) for clip in CLIPS[::3]))
    with tempfile.TemporaryDirectory() as folder, catalogue_in(Path(folder)) as opened:
        apply_all(opened, log)
        yield opened


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with tempfile.TemporaryDirectory() as folder:
        engine = open_engine(sqlite_url(Path(folder) / "catalogue.sqlite"))
        upgrade(engine, MIGRATIONS)
        yield engine
        engine.dispose()


def expected(wanted: ClipFilter) -> list[object]:
    """The same list the slow way."""
    found = [
        (None if clip.started_at is None else clip.started_at.value, index, id_of(clip))
        for index, clip in enumerate(CLIPS)
        if _matches(clip, index, wanted)
    ]
    found.sort(key=lambda place: (place[0] is not None, place[0] or NOW, place[1]), reverse=True)
    return [statement for *_, statement in found]


def _matches(clip: Manifest, index: int, wanted: ClipFilter) -> bool:
    start = None if clip.started_at is None else clip.started_at.value
    return (
        (wanted.agencies is None or clip.header.agency in wanted.agencies)
        and wanted.digest in (None, clip.digest)
        and (
            wanted.recorder is None or (clip.recorder is not None and clip.recorder.value == wanted.recorder)
        )
        and (wanted.officer is None or (clip.officer is not None and clip.officer.value == wanted.officer))
        and _in_range(start, wanted)
        and wanted.stored in (None, index % 3 == 0)
    )


def _in_range(start: datetime | None, wanted: ClipFilter) -> bool:
    if wanted.started_from is None and wanted.started_before is None:
        return True
    return (
        start is not None
        and (wanted.started_from is None or start >= wanted.started_from)
        and (wanted.started_before is None or start < wanted.started_before)
    )


def walk(catalogue: Catalogue, wanted: ClipFilter, limit: int) -> list[Clip]:
    found: list[Clip] = []
    after: Position | None = None
    while True:
        page = catalogue.clips(wanted, limit=limit, after=after)
        assert len(page.clips) <= limit
        found += page.clips
        if page.next_after is None:
            return found
        after = page.next_after


@pytest.mark.parametrize("wanted", FILTERS)
def test_every_combination_of_filters_finds_what_a_slow_search_finds(
    catalogue: Catalogue, wanted: ClipFilter
) -> None:
    assert [clip.manifest for clip in walk(catalogue, wanted, 100)] == expected(wanted)


@settings(max_examples=40, deadline=None)
@given(wanted=st.sampled_from(FILTERS), limit=st.integers(min_value=1, max_value=20))
def test_pages_of_any_size_give_the_same_list(catalogue: Catalogue, wanted: ClipFilter, limit: int) -> None:
    assert [clip.manifest for clip in walk(catalogue, wanted, limit)] == expected(wanted)


@pytest.mark.parametrize(
    ("since", "before"), [(None, NOW), (NOW - HOUR, None), (NOW, NOW + HOUR), (NOW + HOUR, NOW), (NOW, NOW)]
)
def test_a_time_range_leaves_out_its_end_and_unknown_starts(
    catalogue: Catalogue, since: datetime | None, before: datetime | None
) -> None:
    wanted = ClipFilter(agencies=None, started_from=since, started_before=before)
    assert [clip.manifest for clip in walk(catalogue, wanted, 7)] == expected(wanted)


def test_a_page_has_a_largest_size(catalogue: Catalogue) -> None:
    for limit in (0, MAX_PAGE + 1):
        with pytest.raises(ValueError, match="1 to 500"):
            catalogue.clips(ClipFilter(agencies=None), limit=limit)


def plans(engine: Engine, ask: Callable[[], object]) -> list[str]:
    """How SQLite goes about everything that ``ask`` asks."""
    asked: list[tuple[str, Any]] = []

    def note(_c: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        asked.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    try:
        ask()
    finally:
        event.remove(engine, "before_cursor_execute", note)
    with reading(engine) as connection:
        return [
            step.detail
            for statement, parameters in asked
            if statement.startswith("SELECT")
            for step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        ]


@pytest.mark.parametrize("after", [None, SINCE])
def test_no_list_scans_the_table_or_sorts(engine: Engine, after: Position | None) -> None:
    ranges = [replace(wanted, started_before=NOW, stored=True) for wanted in FILTERS]

    def ask(wanted: ClipFilter) -> None:
        with reading(engine) as connection:
            connection.execute(clips_query("alpha", wanted, limit=50, after=after)).all()

    for wanted in [*FILTERS, *ranges]:
        steps = plans(engine, partial(ask, wanted))
        assert steps
        assert all(step.startswith("SEARCH clips USING INDEX") for step in steps), (wanted, steps)


def test_clips_that_are_not_stored_are_found_without_those_that_are(engine: Engine) -> None:
    wanted = ClipFilter(agencies=frozenset({"alpha"}), stored=False)
    steps = plans(engine, lambda: Catalogue(engine, read_listing=_no_listing).clips(wanted, limit=50))
    assert steps[0].startswith("SEARCH clips USING INDEX ix_clips_unstored (agency=? AND stored_index=?")


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (FindingFilter(), "agency"),
        (FindingFilter(is_open=True), "open"),
        (FindingFilter(station="dock-1"), "station"),
        (FindingFilter(recorder="R1"), "recorder"),
        (FindingFilter(visit="0" * 32), "visit"),
        (FindingFilter(code="deficit"), "code"),
    ],
)
def test_every_page_of_findings_has_its_index(engine: Engine, wanted: FindingFilter, index: str) -> None:
    catalogue = Catalogue(engine, read_listing=_no_listing)
    asked = replace(wanted, agencies=frozenset({"alpha"}))
    steps = plans(engine, lambda: catalogue.findings(asked, limit=50))
    assert steps[0].startswith(f"SEARCH findings USING INDEX ix_findings_{index} ")
    assert not any("TEMP B-TREE" in step or step.startswith("SCAN") for step in steps)
    (counting,) = plans(engine, catalogue.open_findings)
    assert counting == "SEARCH findings USING COVERING INDEX ix_findings_open_code (is_open=?)"


def _no_listing(_agency: str, _listing: Digest) -> Iterable[ListingRow]:
    return ()


def test_no_other_question_scans_a_table(engine: Engine) -> None:
    catalogue = Catalogue(engine, read_listing=lambda _agency, _digest: ())
    some, alpha = digest("some"), frozenset({"alpha"})
    questions: list[Callable[[], object]] = [
        lambda: catalogue.key_record("ed25519:00", "alpha"),
        lambda: catalogue.station_key("dock-1"),
        lambda: catalogue.entry_index("ed25519:00", some),
        lambda: catalogue.promise(some),
        lambda: catalogue.promises_awaiting("alpha", some),
        lambda: catalogue.all_awaiting(100),
        lambda: catalogue.chain(some),
        lambda: catalogue.clip(some, None),
        lambda: catalogue.known_bytes("original", some, alpha),
        lambda: catalogue.known_bytes("rendition", some, alpha),
        lambda: catalogue.visit(VISIT, alpha),
        lambda: catalogue.custody(some, alpha, limit=10),
        lambda: catalogue.entries(5, 10),
    ]
    for question in questions:
        question()  # reads the keys once; they are held
        steps = plans(engine, question)
        assert steps
        assert not any(_scans(step) for step in steps), steps


def test_no_account_scans_a_table(engine: Engine) -> None:
    """The queries of one inventory, listed and not."""
    listing = [ListingRow(raw_path=b"a", size_bytes=1, modified_at=None, state=RowState.TO_READ)]
    catalogue = Catalogue(engine, read_listing=lambda _agency, _digest: listing)
    listed, awaited = inventory(), inventory(listing="awaited")
    log = Log()
    log.add(listed, stored(listed), awaited)
    apply_all(catalogue, log)
    steps = plans(engine, lambda: catalogue.visit(VISIT, frozenset({"alpha"})))
    assert not any(_scans(step) for step in steps), steps


def _scans(step: str) -> bool:
    """Whether a whole table is read. An index made for the very condition, read in its order, is no such thing."""
    scan, _, rest = step.partition(" ")
    return scan == "SCAN" and rest.split()[0] in metadata.tables and "_awaiting" not in rest


def test_tables_and_queries_can_be_said_to_postgresql() -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    for table in metadata.sorted_tables:
        assert str(CreateTable(table).compile(dialect=dialect))
        assert all(str(CreateIndex(index).compile(dialect=dialect)) for index in table.indexes)
    for wanted in FILTERS:
        assert "ORDER BY" in str(clips_query("alpha", wanted, limit=1, after=SINCE).compile(dialect=dialect))
    assert "LIMIT" in str(custody_query("alpha", digest("x"), limit=1, after=0).compile(dialect=dialect))
