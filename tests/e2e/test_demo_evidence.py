"""``scripts/demo`` as a newcomer runs it: does it do what it says, and does its evidence stand up to outsiders?"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import pytest

from agent.keys.store import FileKeyStore
from collector.keys import CollectorKeys
from protocol.checkpoint import open_checkpoint
from protocol.claims import SOURCES
from protocol.lines import decode_base64
from protocol.note import VerifierKey
from protocol.statements import Released, ReleaseIntent, Stored
from protocol.times import parse_time
from tests.support.audit import Auditor, verify, verify_all
from tests.support.cards import files_of, sha256_of
from tests.support.handover import FORGERIES, Handover
from tests.support.material import MATERIAL, needs_material
from tests.support.media_lab import ffprobe

ROOT: Final = Path(__file__).parents[2]
_RUN_S: Final = 15 * 60

_MISSING = [name for name in ("ffmpeg", "mosquitto", "bwrap", "setpriv") if not shutil.which(name)]
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.media,
    pytest.mark.skipif(bool(_MISSING), reason=f"the demo would have to install {_MISSING}"),
]

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoRun:
    """One finished run: what it printed, and the folders it docked copies of."""

    outcome: Json
    data: Path
    sources: tuple[Path, ...]

    @property
    def originals(self) -> list[Json]:
        originals: list[Json] = self.outcome["originals"]
        return originals

    def of_type(self, prefix: str) -> list[Json]:
        found = [original for original in self.originals if original["media_type"].startswith(prefix)]
        assert found, f"the run has no {prefix}"
        return found

    def auditor(self) -> Auditor:
        collector = self.data / "collector"
        return Auditor(collector / "log", collector / "objects")

    def handover(self, original: Json) -> Handover:
        clip, _, receipt, _, log_key, _, log = original["verify"]
        return Handover(
            clip=Path(clip),
            receipt=Path(receipt),
            log_key=Path(log_key),
            log=Path(log),
            log_seed=CollectorKeys.load(self.data / "collector" / "keys").log_seed,
            station_seed=FileKeyStore(self.data / "station" / "keys").ensure_keys().seed,
        )


def _demo(data: Path, *sources: Path) -> DemoRun:
    options = [option for source in sources for option in ("--source", str(source))]
    done = subprocess.run(
        [ROOT / "scripts" / "demo", "--once", "--json", "--data", data, *options],
        capture_output=True,
        text=True,
        timeout=_RUN_S,
        check=False,
        cwd=data.parent,
    )
    assert done.returncode == 0, done.stderr + "".join(_logs(data))
    made = sources or tuple(sorted((data / "footage").iterdir()))
    return DemoRun(outcome=json.loads(done.stdout), data=data, sources=made)


def _logs(data: Path) -> Iterator[str]:
    for path in sorted(data.glob("*.log")):
        yield f"--- {path.name}\n{path.read_text(errors='replace')[-4000:]}"


@pytest.fixture(scope="module")
def own_footage(tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    """Without --source: footage the demo makes itself."""
    return _demo(tmp_path_factory.mktemp("demo") / "own")


@pytest.fixture(scope="module")
def real_footage(tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    """With --source: a real camera's clip and real photographs."""
    return _demo(tmp_path_factory.mktemp("demo") / "real", MATERIAL / "samples" / "media")


@pytest.fixture(params=["own", pytest.param("real", marks=needs_material)])
def demo(request: pytest.FixtureRequest) -> DemoRun:
    run: DemoRun = request.getfixturevalue(f"{request.param}_footage")
    return run


CLAIMS: Final = ("recorder_id", "officer_id", "started_at")
ORIGINAL: Final[Mapping[str, type | tuple[type, ...]]] = {
    "name": str,
    "sha256": str,
    "size_bytes": int,
    "media_type": str,
    "stored_index": int,
    "receipt": str,
    "renditions": list,
    "not_rendered": (str, type(None)),
    "verify": list,
}
INVENTORY: Final = {"listed", "stored", "pending", "unreadable", "excluded", "present_on_recorder"}


def test_the_outcome_has_exactly_the_documented_shape(demo: DemoRun) -> None:
    outcome = demo.outcome
    assert set(outcome) == {"originals", "inventory", "released", "checkpoint", "log_dir", "data_dir"}
    assert set(outcome["released"]) == {"files", "kept", "inventories_after"}
    assert set(outcome["inventory"]) == INVENTORY
    assert all(type(count) is int for count in outcome["inventory"].values())
    assert set(outcome["checkpoint"]) == {"origin", "tree_size", "root_hash"}
    assert Path(outcome["data_dir"]) == demo.data
    for original in demo.originals:
        assert set(original) == {*ORIGINAL, *CLAIMS, *(f"{name}_source" for name in CLAIMS)}
        for name, kind in ORIGINAL.items():
            assert isinstance(original[name], kind), name
        for rendition in original["renditions"]:
            assert set(rendition) == {"kind", "sha256", "media_type", "path"}


def test_every_claim_says_where_it_comes_from(demo: DemoRun) -> None:
    for original in demo.originals:
        for name in CLAIMS:
            value, source = original[name], original[f"{name}_source"]
            assert (value is None) == (source is None)
            assert source is None or source in SOURCES
        if original["started_at"] is not None:
            assert parse_time(original["started_at"]).tzinfo is not None


def test_names_by_rule_n1_tell_recorder_officer_and_start(own_footage: DemoRun) -> None:
    named = [original for original in own_footage.originals if original["name"].startswith("ZFY0001_")]
    assert len(named) == 4
    for original in named:
        assert (original["recorder_id"], original["recorder_id_source"]) == ("ZFY0001", "name")
        assert (original["officer_id"], original["officer_id_source"]) == ("031415", "name")
        assert original["started_at_source"] == "name"


def test_everything_docked_is_stored_exactly_once_and_accounted_for(demo: DemoRun) -> None:
    auditor, docked = demo.auditor(), Counter[tuple[str, str]]()
    for source in demo.sources:
        docked += files_of(source)
    auditor.check_each_file_once(docked)
    assert Counter((original["name"], original["sha256"]) for original in demo.originals) == docked
    counts = demo.outcome["inventory"]
    tallies = [auditor.tally(said, inventory) for said, inventory in auditor.newest_inventories()]
    for state in ("listed", "stored", "pending", "unreadable", "excluded"):
        assert counts[state] == sum(getattr(tally, state) for tally in tallies)
    assert counts["listed"] == sum(counts[state] for state in ("stored", "pending", "unreadable", "excluded"))
    assert counts["stored"] == docked.total()


def test_the_demos_copies_are_erased_and_listed_again_and_its_sources_are_untouched(demo: DemoRun) -> None:
    released, docked = demo.outcome["released"], sum(files_of(source).total() for source in demo.sources)
    assert docked > 0
    assert (released["files"], released["kept"]) == (docked, 0)
    assert len(released["inventories_after"]) == len(demo.sources)
    assert {(after["sequence"], after["present_on_recorder"]) for after in released["inventories_after"]} == {
        (2, 0)
    }
    assert demo.outcome["inventory"]["present_on_recorder"] == 0
    left = [path for path in (demo.data / "station" / "dock").rglob("*") if path.is_file()]
    assert {path.name for path in left}.isdisjoint(
        original["name"].rpartition("/")[2] for original in demo.originals
    )
    statements = [said.statement for said in demo.auditor().said]
    named = sum(len(said.items) for said in statements if isinstance(said, ReleaseIntent))
    assert (named, sum(isinstance(said, Released) for said in statements)) == (docked, len(demo.sources))


def test_the_log_named_is_the_log_that_was_written(demo: DemoRun) -> None:
    log, auditor = Path(demo.outcome["log_dir"]), demo.auditor()
    key = VerifierKey.parse((log / "vkey").read_text().strip())
    checkpoint = open_checkpoint((log / "checkpoint").read_bytes(), key)
    named = demo.outcome["checkpoint"]
    assert (named["origin"], named["tree_size"]) == (checkpoint.origin, checkpoint.size)
    assert decode_base64(named["root_hash"], "root") == checkpoint.root
    assert len(auditor.said) == checkpoint.size
    manifests = {manifest.path: said.id for said, manifest in auditor.manifests}
    for original in demo.originals:
        stored = auditor.said[original["stored_index"]].statement
        assert isinstance(stored, Stored)
        assert stored.statement == manifests[original["name"]]


def test_every_clip_is_accepted_by_the_verifier(demo: DemoRun) -> None:
    for original in demo.originals:
        assert sha256_of(Path(original["verify"][0])) == original["sha256"]
        assert original["verify"][2] == original["receipt"]
    verify_all(original["verify"] for original in demo.originals)


def _renditions(original: Json, kind: str) -> list[Json]:
    return [rendition for rendition in original["renditions"] if rendition["kind"] == kind]


def _boxes(path: Path) -> list[str]:
    """Top-level boxes of an MP4, in order (ISO/IEC 14496-12 §4.2)."""
    data, place, found = path.read_bytes(), 0, []
    while place < len(data):
        size = int.from_bytes(data[place : place + 4])
        found.append(data[place + 4 : place + 8].decode("latin-1"))
        if size == 1:
            size = int.from_bytes(data[place + 8 : place + 16])
        place += size or len(data)
    return found


def _streams(path: Path, kind: Literal["video", "audio"] | None = None) -> list[Json]:
    streams = ffprobe(path)["streams"]
    assert isinstance(streams, list)
    return [stream for stream in streams if kind in (None, stream["codec_type"])]


def _duration_s(path: Path) -> float:
    document: Json = ffprobe(path)
    return float(document["format"]["duration"])


def test_every_video_has_a_copy_that_any_browser_plays(demo: DemoRun) -> None:
    for original in demo.of_type("video/"):
        (playable,) = _renditions(original, "playable")
        path, clip = Path(playable["path"]), Path(original["verify"][0])
        assert playable["media_type"] == "video/mp4"
        assert sha256_of(path) == playable["sha256"]
        assert [stream["codec_name"] for stream in _streams(path, "video")] == ["h264"]
        assert {stream["codec_name"] for stream in _streams(path, "audio")} <= {"aac"}
        assert len(_streams(path, "audio")) == len(_streams(clip, "audio"))
        assert {stream["codec_type"] for stream in _streams(path)} <= {"video", "audio"}, "no data tracks"
        boxes = _boxes(path)
        assert boxes.index("moov") < boxes.index("mdat"), "playing must not wait for the end of the file"
        assert _duration_s(path) == pytest.approx(_duration_s(clip), abs=0.3)
        assert _renditions(original, "poster")


def test_the_real_cameras_data_tracks_stay_in_the_original_only(real_footage: DemoRun) -> None:
    (clip,) = real_footage.of_type("video/")
    kinds = Counter(stream["codec_type"] for stream in _streams(Path(clip["verify"][0])))
    assert kinds["data"] == 3


def test_every_sound_recording_has_a_copy_that_any_browser_plays(own_footage: DemoRun) -> None:
    for original in own_footage.of_type("audio/"):
        (playable,) = _renditions(original, "playable")
        assert playable["media_type"] == "audio/mp4"
        assert [stream["codec_name"] for stream in _streams(Path(playable["path"]))] == ["aac"]


def test_every_photograph_has_a_thumbnail(demo: DemoRun) -> None:
    for original in demo.of_type("image/"):
        (thumbnail,) = _renditions(original, "thumbnail")
        assert thumbnail["media_type"] == "image/jpeg"
        (picture,) = _streams(Path(thumbnail["path"]))
        assert (picture["codec_name"], picture["width"] > 0) == ("mjpeg", True)


def test_nothing_that_can_be_rendered_was_not(demo: DemoRun) -> None:
    assert [original["not_rendered"] for original in demo.originals] == [None] * len(demo.originals)


# --- what an outsider is handed


@needs_material
@pytest.mark.parametrize("what", FORGERIES)
def test_the_verifier_refuses_what_is_not_as_it_was_said(
    own_footage: DemoRun, real_footage: DemoRun, tmp_path: Path, what: str
) -> None:
    forge, found_by = FORGERIES[what]
    own = own_footage.handover(own_footage.of_type("video/")[0])
    other = real_footage.handover(real_footage.of_type("video/")[0])
    for handover in (own, other):
        assert verify(handover.arguments)[0] == 0
    forged = forge(own.copy_to(tmp_path), other)
    code, report = verify(forged.arguments)
    failed = [check["name"] for check in report["checks"] if check["outcome"] == "failed"]
    assert (code, report["verified"], failed) == (1, False, [found_by])


def test_the_receipt_of_another_clip_of_the_same_log_is_refused(own_footage: DemoRun) -> None:
    first, second, *_ = own_footage.originals
    arguments = [second["verify"][0], *first["verify"][1:]]
    code, report = verify(arguments)
    failed = [check["name"] for check in report["checks"] if check["outcome"] == "failed"]
    assert (code, failed) == (1, ["content"])
