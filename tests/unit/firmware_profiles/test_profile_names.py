"""What do file names claim, and is nothing invented?"""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_profiles.identity import IdentityClaims
from firmware_profiles.load import load_registry
from firmware_profiles.names import NameClaims, claims_from_label, claims_from_name, claims_from_path
from firmware_profiles.schema import Profile
from protocol.claims import Claim, TimeClaim

SHANGHAI = ZoneInfo("Asia/Shanghai")
BERLIN = ZoneInfo("Europe/Berlin")
PROFILES = {profile.id: profile for profile in load_registry().profiles}
N1 = PROFILES["name_n1"]


def own_profile(
    regex: str,
    time_format: str | None = None,
    values: tuple[str, ...] = (),
    *,
    zone: str = "station",
    kinds: dict[str, list[str]] | None = None,
) -> Profile:
    members: dict[str, object] = {} if kinds is None else {"kinds": kinds}
    if time_format is not None:
        members["started_at"] = {"format": time_format, "zone": zone}
    return Profile.from_table(
        {
            "schema": 1,
            "id": "own",
            "version": "1.0.0",
            "title": {"zh": "某", "en": "some"},
            "match": {"rank": 1, "file_names": ["own"]},
            "media": {"roots": ["/"], "kinds": {}},
            "file_name": [{"name": "own", "regex": regex, **members}],
            "mark": {"values": list(values), "paths": ["IMP"]},
            "identity": {"recorder": ["volume label"], "volume_label": "REC(?P<recorder>[0-9]+)"},
            "reading": {"order": ["newest"]},
        }
    )


def test_an_n1_name_claims_recorder_officer_and_local_start() -> None:
    assert claims_from_name(N1, "2JA0001_A12345_20260131081530.MP4", SHANGHAI) == NameClaims(
        recorder=Claim("2JA0001", "name"),
        officer=Claim("A12345", "name"),
        started_at=TimeClaim(datetime(2026, 1, 31, 0, 15, 30, tzinfo=UTC), "name"),
        marked=False,
    )


@pytest.mark.parametrize(
    "stamp",
    [
        "20260230081530",
        "20261301000000",
        "20260131241530",
        "20260131081560",
        "00000000000000",
        "09990101000000",
    ],
)
def test_an_impossible_date_gives_no_time_and_leaves_the_rest(stamp: str) -> None:
    claims = claims_from_name(N1, f"2JA0001_012345_{stamp}.mp4", SHANGHAI)
    assert claims.started_at is None
    assert claims.recorder == Claim("2JA0001", "name")


@pytest.mark.parametrize(
    "name",
    [
        "2JA0001_012345_20260131081530",
        "x2JA0001_012345_20260131081530.mp4",
        "2JA0001_012345_20260131081530.mp4\n",
        "2JA0001_12345_20260131081530.mp4",
        "2JA0001_012345_２０２６０１３１０８１５３０.mp4",
        "执法0001_012345_20260131081530.mp4",
        "GX010001.MP4",
        "",
        "1" * 300,
    ],
)
def test_a_name_of_another_form_claims_nothing(name: str) -> None:
    assert claims_from_name(N1, name, SHANGHAI) == NameClaims()


@pytest.mark.parametrize("stamp", ["20260329023000", "20261025023000"])
def test_a_local_time_shown_never_or_twice_is_no_time(stamp: str) -> None:
    assert claims_from_name(N1, f"2JA0001_012345_{stamp}.mp4", BERLIN).started_at is None


def test_a_time_at_the_end_of_time_is_no_time() -> None:
    west = ZoneInfo("America/New_York")
    assert claims_from_name(N1, "2JA0001_012345_99991231235959.mp4", west).started_at is None


def test_a_lenient_reading_of_a_date_is_no_reading() -> None:
    loose = own_profile(r"(?P<started_at>[0-9 -]+)\.mp4", "%Y-%m-%d %H")
    assert claims_from_name(loose, "2026-01-31 08.mp4", SHANGHAI).started_at is not None
    assert claims_from_name(loose, "2026-1-31 08.mp4", SHANGHAI).started_at is None
    assert claims_from_name(loose, "2026-01-31   08.mp4", SHANGHAI).started_at is None


def test_the_mark_is_a_value_of_the_name_or_a_folder() -> None:
    profile = own_profile(r"(?P<recorder>[0-9]+)_(?P<mark>[0-9]{2})\.mp4", values=("01",))
    assert claims_from_name(profile, "7_01.mp4", SHANGHAI).marked
    assert not claims_from_name(profile, "7_00.mp4", SHANGHAI).marked
    assert claims_from_path(profile, "Media/IMP/7_00.mp4", SHANGHAI) == NameClaims(
        recorder=Claim("7", "name"), marked=True
    )
    assert claims_from_path(profile, "IMP/other", SHANGHAI) == NameClaims(marked=True)
    assert not claims_from_path(profile, "Media/7_00.mp4", SHANGHAI).marked


@pytest.mark.parametrize(
    ("label", "recorder"),
    [("REC42", Claim("42", "volume label")), ("REC", None), ("XREC42", None), (None, None)],
)
def test_the_label_claims_what_its_expression_says(label: str | None, recorder: Claim | None) -> None:
    assert claims_from_label(own_profile("(?P<recorder>x)"), label) == IdentityClaims(recorder=recorder)


@pytest.mark.parametrize(
    ("zone", "hour", "minute"),
    [("station", 0, 30), ("utc", 8, 30), ("+05:30", 3, 0), ("-03:00", 11, 30), ("+08:00", 0, 30)],
)
def test_the_zone_of_a_name_is_the_profiles_or_the_stations(zone: str, hour: int, minute: int) -> None:
    profile = own_profile(r"(?P<started_at>[0-9]{14})\.mp4", "%Y%m%d%H%M%S", zone=zone)
    claims = claims_from_name(profile, "20260131083000.mp4", SHANGHAI)
    assert claims.started_at == TimeClaim(datetime(2026, 1, 31, hour, minute, tzinfo=UTC), "name")


def test_number_kind_and_encryption_are_named_fields() -> None:
    profile = own_profile(
        "(?P<kind>[0-9]{2})(?P<sequence>[0-9]{4})(?P<encrypted>_enc)?",
        kinds={"video": ["01", "11"], "image": ["03"]},
    )
    assert claims_from_name(profile, "110007_enc", SHANGHAI) == NameClaims(
        kind="video", sequence=7, encrypted=True
    )
    assert claims_from_name(profile, "990000", SHANGHAI) == NameClaims(sequence=0)


def test_profiles_without_grammar_claim_nothing() -> None:
    for name in ("dcf", "generic"):
        assert claims_from_path(PROFILES[name], "2JA0001_012345_20260131081530.mp4", SHANGHAI) == NameClaims()


@given(st.text(max_size=300))
def test_any_text_is_a_harmless_name(name: str) -> None:
    for profile in PROFILES.values():
        claims_from_path(profile, name, SHANGHAI)
        profile.kind_of(name)
        profile.ignoring_rule(name)


@given(st.datetimes(min_value=datetime(1992, 1, 1), max_value=datetime(2100, 1, 1)))  # noqa: DTZ001
def test_a_start_written_into_a_name_is_read_back(moment: datetime) -> None:
    moment = moment.replace(microsecond=0)
    claims = claims_from_name(N1, f"2JA0001_012345_{moment:%Y%m%d%H%M%S}.mp4", SHANGHAI)
    assert claims.started_at == TimeClaim(moment.replace(tzinfo=SHANGHAI).astimezone(UTC), "name")


CODE = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
MOMENTS = st.datetimes(min_value=datetime(1992, 1, 1), max_value=datetime(2100, 1, 1))  # noqa: DTZ001


def codes(shortest: int, longest: int) -> st.SearchStrategy[str]:
    return st.text(CODE, min_size=shortest, max_size=longest).filter(lambda code: code.strip("0"))


@given(st.data(), MOMENTS, st.integers(0, 9999), codes(6, 6), st.booleans(), st.booleans())
def test_what_a_recorder_writes_into_a_name_is_read_back(
    data: st.DataObject, moment: datetime, number: int, officer: str, marked: bool, encrypted: bool
) -> None:
    moment = moment.replace(microsecond=0)
    stamp = f"{moment:%Y%m%d%H%M%S}"
    lengths = {"name_n1": (7, 7), "name_n2": (7, 7), "name_n3": (20, 20), "name_n4": (6, 10)}
    family = data.draw(st.sampled_from(sorted(lengths)))
    recorder = data.draw(codes(*lengths[family]))
    mark, cipher = "_IMP" if marked else "", "_enc" if encrypted else ""
    name = {
        "name_n1": f"{recorder}_{officer}_{stamp}.mp4",
        "name_n2": f"{recorder}@{stamp}{number:04}",
        "name_n3": f"37028300_{recorder}{stamp}0100{stamp}{number:04}.mp4",
        "name_n4": f"DCAM_{recorder}_{officer}_{moment:%Y%m%d_%H%M%S}{mark}{cipher}.mp4",
    }[family]
    names_officer, numbered = family in ("name_n1", "name_n4"), family in ("name_n2", "name_n3")
    assert claims_from_name(PROFILES[family], name, SHANGHAI) == NameClaims(
        recorder=Claim(recorder, "name"),
        officer=Claim(officer, "name") if names_officer else None,
        started_at=TimeClaim(moment.replace(tzinfo=SHANGHAI).astimezone(UTC), "name"),
        sequence=number if numbered else None,
        marked=marked and family == "name_n4",
        encrypted=encrypted and family == "name_n4",
    )


@pytest.mark.parametrize(
    ("profile", "name", "kind"),
    [
        ("name_n1", "a.MP4", "video"),
        ("name_n1", "a.gps", "sidecar"),
        ("dcf", "DSCN0010.JPG", "image"),
        ("generic", "a.xyz", None),
        ("generic", "mp4", None),
        ("generic", ".mp4", "video"),
    ],
)
def test_the_extension_tells_the_kind(profile: str, name: str, kind: str | None) -> None:
    assert PROFILES[profile].kind_of(name) == kind
