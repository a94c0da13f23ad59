"""Which profile does a volume get, and are equal claims an error?"""

from __future__ import annotations

from typing import Any

import pytest

from firmware_profiles.errors import NoProfileError, ProfileConflict
from firmware_profiles.load import load_registry
from firmware_profiles.registry import Registry
from firmware_profiles.schema import Profile

BUILT_IN = load_registry()


def profile(name: str, **match: Any) -> Profile:
    return Profile.from_table(
        {
            "schema": 1,
            "id": name,
            "version": "1.0.0",
            "title": {"zh": "某", "en": "some"},
            "match": match,
            "media": {"roots": ["/"], "kinds": {}},
            "file_name": [{"name": "own", "regex": r"(?P<recorder>[0-9]{4})\.mp4"}],
            "reading": {"order": ["newest"]},
        }
    )


@pytest.mark.parametrize(
    ("paths", "chosen"),
    [
        (["2JA0001_012345_20260131081530.mp4"], "name_n1"),
        (["DCIM/100MEDIA/2JA0001_012345_20260131081530.MP4"], "name_n1"),
        (["DCIM/100GOPRO/GX010001.MP4", "2ja0001_012345_20260131081530.mp4"], "name_n1"),
        (["2JA0001_012345_20261399999999.mp4"], "name_n1"),
        (["DCIM/100NIKON/DSCN0010.JPG"], "dcf"),
        (["dcim/100nikon/dscn0010.jpg"], "dcf"),
        (["DCIM/099NIKON/DSCN0010.JPG"], "generic"),
        (["DCIM/Camera/IMG_20260131.jpg"], "generic"),
        (["x/DCIM/100NIKON/DSCN0010.JPG"], "generic"),
        (["notes.txt"], "generic"),
        ([], "generic"),
    ],
)
def test_a_volume_gets_the_profile_its_files_show(paths: list[str], chosen: str) -> None:
    for order in (paths, paths[::-1]):
        assert BUILT_IN.choose(label=None, paths=order).id == chosen


def test_every_criterion_must_hold_and_within_one_any_pattern() -> None:
    registry = Registry(
        (
            profile(
                "a", rank=5, volume_labels=["REC*", "ZFY*"], marker_files=["/device.cfg"], file_names=["own"]
            ),
            profile("b", rank=0, fallback=True),
        )
    )
    whole = ["x/0001.mp4", "device.cfg"]
    assert registry.choose(label="ZFY-7", paths=whole).id == "a"
    for label, paths in [("ZFY-7", whole[:1]), ("ZFY-7", whole[1:]), ("OTHER", whole), (None, whole)]:
        assert registry.choose(label=label, paths=paths).id == "b"


@pytest.mark.parametrize(
    ("ranks", "chosen"),
    [
        ((5, 4, 3), "p0"),
        ((3, 4, 5), "p2"),
        ((3, 3, 5), "p2"),
        ((5, 5, 3), None),
        ((5, 3, 5), None),
        ((0, 0, 0), None),
    ],
)
def test_the_highest_rank_wins_and_two_of_it_are_a_conflict(
    ranks: tuple[int, ...], chosen: str | None
) -> None:
    registry = Registry(
        tuple(profile(f"p{number}", rank=rank, volume_labels=["REC"]) for number, rank in enumerate(ranks))
    )
    if chosen is None:
        with pytest.raises(ProfileConflict, match="of rank"):
            registry.choose(label="REC", paths=[])
    else:
        assert registry.choose(label="REC", paths=[]).id == chosen


def test_a_fallback_yields_to_any_match_whatever_its_rank() -> None:
    registry = Registry((profile("a", rank=900, fallback=True), profile("b", rank=0, paths=["/x"])))
    assert registry.choose(label=None, paths=["x"]).id == "b"


def test_without_a_fallback_the_unknown_is_refused() -> None:
    with pytest.raises(NoProfileError) as caught:
        Registry((profile("a", rank=1, paths=["/x"]),)).choose(label=None, paths=["y"])
    assert caught.value.code == "profile-unknown"


def test_one_id_and_one_fallback_may_be_given_once() -> None:
    with pytest.raises(ProfileConflict, match="more than once"):
        Registry((profile("a", rank=1, paths=["/x"]), profile("a", rank=2, paths=["/y"])))
    with pytest.raises(ProfileConflict, match="fallback"):
        Registry((profile("a", rank=1, fallback=True), profile("b", rank=2, fallback=True)))


def test_paths_are_not_asked_for_longer_than_needed() -> None:
    def paths() -> Any:
        yield "x"
        raise AssertionError("asked for more")

    assert Registry((profile("a", rank=1, paths=["/x"]),)).choose(label=None, paths=paths()).id == "a"
