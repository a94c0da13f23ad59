"""Does every original get its media statement and its renditions, or the signed reason why not, exactly once?

Real: journal, spool, signatures. The renderer is the memory twin.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agent.errors import (
    MediaLimitError,
    MediaTimeoutError,
    RenditionFailedError,
    SandboxUnavailableError,
)
from agent.media_desk import MAX_ATTEMPTS
from agent.spool.errors import JournalError
from agent.spool.records import Purpose
from protocol.claims import Claim, TimeClaim
from protocol.digest import Digest
from tests.support.lossy_spool import PowerCutError, PowerSwitch
from tests.support.media_bench import AUDIO, BAD_VIDEO, NOTE, PHOTO, RECORDER, VIDEO, MediaBench
from tests.support.visit_lab import AGENCY, START, STATION


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[MediaBench]:
    bench = MediaBench(tmp_path)
    yield bench
    bench.journal.close()


def check_made(bench: MediaBench, manifest: Digest, *kinds: str) -> None:
    """These renditions were made, are in the spool as stated, and wait for delivery; nothing else does."""
    stated = bench.renditions(manifest)
    assert stated.keys() == set(kinds)
    deliveries = {
        delivery.digest: delivery
        for delivery in bench.journal.open_deliveries(100)
        if delivery.purpose is Purpose.RENDITION
    }
    for rendition in stated.values():
        assert rendition.rendered is not None
        content = deliveries[rendition.rendered.digest].path.read_bytes()
        assert Digest.of(content) == rendition.rendered.digest
        assert len(content) == rendition.rendered.size_bytes


def check_not_made(bench: MediaBench, manifest: Digest, code: str, *kinds: str) -> None:
    stated = bench.renditions(manifest)
    assert {
        kind: rendition.problem.code for kind, rendition in stated.items() if rendition.problem
    } == dict.fromkeys(kinds, code)


# What is stated


@pytest.mark.parametrize(
    ("content", "kinds", "duration_ms", "started_at", "recorder"),
    [
        (VIDEO, ["playable", "poster"], 5000, TimeClaim(START, "container"), RECORDER),
        (AUDIO, ["playable"], 2500, None, RECORDER),
        (PHOTO, ["thumbnail"], None, None, Claim("SN 7", "exif")),
    ],
    ids=["video", "audio", "photo"],
)
async def test_media_get_their_facts_stated_and_their_renditions_made(
    bench: MediaBench,
    content: bytes,
    kinds: list[str],
    duration_ms: int | None,
    started_at: TimeClaim | None,
    recorder: Claim,
) -> None:
    (manifest,) = bench.take_in(content)
    await bench.work_off()
    media = bench.media(manifest)
    assert (media.header.agency, media.header.signer) == (AGENCY, STATION)
    assert (media.original, media.manifest) == (Digest.of(content), manifest)
    assert (media.duration_ms, media.started_at, media.recorder) == (duration_ms, started_at, recorder)
    assert media.facts is not None
    check_made(bench, manifest, *kinds)
    assert bench.jobs() == []


async def test_what_is_no_recording_is_said_not_to_be_one_without_asking_a_probe(bench: MediaBench) -> None:
    (manifest,) = bench.take_in(NOTE)
    bench.renderer.probe_fails = [AssertionError("a probe was asked")]
    await bench.work_off()
    problem = bench.media(manifest).problem
    assert problem is not None
    assert problem.code == "not-media"
    check_not_made(bench, manifest, "not-media", "playable")
    assert bench.jobs() == []


async def test_what_cannot_be_probed_is_answered_with_the_reason_for_every_kind(bench: MediaBench) -> None:
    (manifest,) = bench.take_in(BAD_VIDEO)
    await bench.work_off()
    problem = bench.media(manifest).problem
    assert problem is not None
    assert problem.code == "media-unreadable"
    check_not_made(bench, manifest, "media-unreadable", "playable", "poster")
    assert bench.jobs() == []


async def test_one_rendition_that_fails_does_not_prevent_the_next(bench: MediaBench) -> None:
    (manifest,) = bench.take_in(VIDEO)
    bench.renderer.render_fails = [RenditionFailedError("\x1b[2Jffmpeg failed\udcff")]
    await bench.work_off()
    problem = bench.renditions(manifest)["playable"].problem
    assert problem is not None
    assert problem.code == "rendition-failed"
    assert problem.detail.isprintable()
    assert bench.renditions(manifest)["poster"].rendered is not None
    assert bench.jobs() == []


# Interrupted


class OneFault(PowerSwitch):
    """A machine on which one thing fails once, at a given count."""

    def __init__(self, at: int, fault: BaseException) -> None:
        super().__init__()
        self._at = at
        self._fault = fault

    def pass_through(self) -> None:
        super().pass_through()
        if self.count == self._at:
            raise self._fault


INTERRUPTIONS: dict[str, Callable[[int], PowerSwitch]] = {
    "power cut": PowerSwitch,
    "stopped": lambda at: OneFault(at, asyncio.CancelledError()),
    "disk trouble": lambda at: OneFault(at, OSError(5, "Input/output error")),
}


@pytest.mark.parametrize("how", INTERRUPTIONS)
@pytest.mark.parametrize(
    ("content", "kinds"), [(VIDEO, ["playable", "poster"]), (BAD_VIDEO, [])], ids=["video", "unreadable"]
)
async def test_interrupted_at_any_step_nothing_is_missing_and_nothing_is_stated_twice(
    tmp_path: Path, how: str, content: bytes, kinds: list[str]
) -> None:
    steps = 0
    while True:
        steps += 1
        bench = MediaBench(tmp_path / str(steps))
        (manifest,) = bench.take_in(content)
        switch = INTERRUPTIONS[how](steps)
        bench.use_switch(switch)
        interrupted = False
        try:
            await bench.work_off()
        except (PowerCutError, asyncio.CancelledError, OSError):
            interrupted = True
        bench.restart()
        await bench.run_until_done()
        assert bench.media(manifest).original == Digest.of(content)
        if kinds:
            check_made(bench, manifest, *kinds)
        else:
            check_not_made(bench, manifest, "media-unreadable", "playable", "poster")
        assert list((bench.folder / "rendering").iterdir()) == []
        bench.journal.close()
        if not interrupted:
            break
    assert steps > 8


@pytest.mark.parametrize("where", ["probe_fails", "render_fails"])
async def test_a_job_that_kills_its_process_every_time_is_given_up_with_statements(
    bench: MediaBench, where: str
) -> None:
    manifest, good = bench.take_in(VIDEO, PHOTO)
    for _ in range(MAX_ATTEMPTS):
        setattr(bench.renderer, where, [PowerCutError()])
        job = next(job for job in bench.jobs() if job.manifest == manifest)
        with pytest.raises(PowerCutError):
            await bench.desk.work(job, bench.renderer)
        bench.restart()
    assert bench.jobs()[0].manifest == good, "an original that kills its probe holds up no other"
    await bench.run_until_done()
    check_not_made(bench, manifest, "media-given-up", "playable", "poster")
    assert (bench.media(manifest).facts is None) == (where == "probe_fails")
    assert bench.renditions(good)["thumbnail"].rendered is not None


async def test_a_job_given_up_after_one_rendition_keeps_that_one(bench: MediaBench) -> None:
    (manifest,) = bench.take_in(VIDEO)
    bench.journal.switch = PowerSwitch(6)  # just after the third commit: attempt, facts, playable copy
    for _ in range(MAX_ATTEMPTS):
        with pytest.raises(PowerCutError):
            await bench.work_off()
        bench.restart()
        bench.renderer.render_fails = [PowerCutError()]
    await bench.run_until_done()
    made = bench.renditions(manifest)
    assert made.keys() == {"playable", "poster"}
    assert made["playable"].rendered is not None
    assert made["poster"].problem is not None
    assert made["poster"].problem.code == "media-given-up"


@pytest.mark.parametrize("reason", [SandboxUnavailableError("gone"), asyncio.CancelledError()])
async def test_what_the_station_interrupts_itself_is_never_held_against_an_original(
    bench: MediaBench, reason: BaseException
) -> None:
    (manifest,) = bench.take_in(VIDEO)
    for _ in range(2 * MAX_ATTEMPTS):
        bench.renderer.render_fails = [reason]
        with pytest.raises(type(reason)):
            await bench.work_off()
        assert bench.jobs()[0].attempts == 0
    await bench.work_off()
    check_made(bench, manifest, "playable", "poster")


# Another attempt


async def test_a_failure_that_may_not_come_again_is_tried_again_before_it_is_stated(
    bench: MediaBench,
) -> None:
    (manifest,) = bench.take_in(VIDEO)
    bench.renderer.probe_fails = [MediaTimeoutError("slow")] * (MAX_ATTEMPTS - 1)
    await bench.run_until_done()
    check_made(bench, manifest, "playable", "poster")


async def test_a_failure_that_comes_every_time_is_stated_with_its_own_reason(bench: MediaBench) -> None:
    (manifest,) = bench.take_in(VIDEO)
    bench.renderer.probe_fails = [MediaTimeoutError("slow")] * (MAX_ATTEMPTS + 1)
    await bench.run_until_done()
    check_not_made(bench, manifest, "media-timeout", "playable", "poster")


async def test_a_failure_that_would_come_again_is_stated_at_once(bench: MediaBench) -> None:
    (manifest,) = bench.take_in(VIDEO)
    bench.renderer.probe_fails = [MediaLimitError("too much")]
    await bench.work_off()
    check_not_made(bench, manifest, "media-limit", "playable", "poster")


async def test_a_mistake_of_ours_with_one_file_stops_neither_desk_nor_others(bench: MediaBench) -> None:
    manifest, good = bench.take_in(VIDEO, PHOTO)
    bench.renderer.probe_fails = [ZeroDivisionError()]
    await bench.run_until_done()
    assert bench.renditions(good)["thumbnail"].rendered is not None
    assert bench.renditions(manifest)["playable"].rendered is not None


async def test_without_a_sandbox_the_desk_waits_and_says_why(bench: MediaBench) -> None:
    (manifest,) = bench.take_in(VIDEO)
    bench.sandbox_missing = 10**6
    task = asyncio.create_task(bench.desk.run())
    async with asyncio.timeout(30):
        while bench.desk.obstacle is None:
            await asyncio.sleep(0)
    assert "namespaces" in bench.desk.obstacle
    assert bench.stated(manifest) == []
    bench.sandbox_missing = 0
    async with asyncio.timeout(30):
        while bench.jobs():
            await asyncio.sleep(0)
    assert bench.desk.obstacle is None
    task.cancel()
    await asyncio.wait({task})
    check_made(bench, manifest, "playable", "poster")


async def test_without_room_a_rendition_waits_a_little_and_is_then_given_up_for_the_sake_of_the_spool(
    tmp_path: Path,
) -> None:
    bench = MediaBench(tmp_path, reserve_bytes=2**62)
    (manifest,) = bench.take_in(VIDEO)
    await bench.run_until_done()
    assert bench.media(manifest).facts is not None
    check_not_made(bench, manifest, "spool-full", "playable", "poster")
    bench.journal.close()


# The spool


async def test_an_original_missing_from_the_spool_is_answered_and_closed(bench: MediaBench) -> None:
    (manifest,) = bench.take_in(VIDEO)
    bench.spool.path(Purpose.ORIGINAL, Digest.of(VIDEO)).unlink()
    await bench.run_until_done()
    problem = bench.media(manifest).problem
    assert problem is not None
    assert problem.code == "original-missing"
    check_not_made(bench, manifest, "original-missing", "playable", "poster")


async def test_the_same_bytes_read_twice_are_rendered_for_each_manifest(bench: MediaBench) -> None:
    first, second = bench.take_in(PHOTO, PHOTO)
    await bench.run_until_done()
    check_made(bench, first, "thumbnail")
    check_made(bench, second, "thumbnail")


async def test_leftovers_of_a_killed_desk_are_removed_when_it_starts(bench: MediaBench) -> None:
    rendering = bench.folder / "rendering"
    (rendering / ".rendering-abc").mkdir()
    (rendering / ".rendering-abc" / "half.mp4").write_bytes(b"half")
    (rendering / f"{'0' * 64}.mp4").write_bytes(b"finished, never taken over")
    bench.take_in(PHOTO)
    await bench.run_until_done()
    assert list(rendering.iterdir()) == []


async def test_a_journal_that_cannot_be_written_ends_the_desk(bench: MediaBench) -> None:
    bench.take_in(VIDEO)
    with closing(sqlite3.connect(bench.folder / "journal.db")) as other:
        other.execute("DROP TABLE media_results")
    with pytest.raises(JournalError):
        await bench.run_until_done()
