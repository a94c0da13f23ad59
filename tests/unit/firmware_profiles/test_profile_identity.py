"""Who is it, by several sources: one number, a contradiction, or nothing; never a guess?"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_profiles.errors import ProfileMalformedError
from firmware_profiles.identity import Answer, DeviceSays, Outcome, claim_of, decide_identity, device_claims
from firmware_profiles.load import load_registry
from firmware_profiles.names import MAX_MARKER_BYTES, claims_from_marker, marker_parts
from firmware_profiles.schema import Identity
from firmware_profiles.shape import IDENTITY_SOURCES, PROFILE_SCHEMA
from protocol.claims import SOURCES, Claim

PROFILES = {profile.id: profile for profile in load_registry().profiles}
DROP = PROFILES["network_drop"]
ALL = IDENTITY_SOURCES

CLAIMS = st.builds(Claim, st.sampled_from(["A1", "a1", "B2", "00"]), st.sampled_from(ALL))


def decide(*claims: Claim, sources: tuple[str, ...] = ALL) -> Answer:
    return decide_identity(sources, claims)


def test_what_all_sources_agree_on_is_known_by_the_first_of_them() -> None:
    answer = decide(Claim("zfy01", "name"), Claim("ZFY01", "volume label"), Claim("ZFY01", "device"))
    assert (answer.outcome, answer.claim) == (Outcome.KNOWN, Claim("ZFY01", "device"))


def test_two_sources_that_differ_are_a_contradiction_with_both_claims() -> None:
    answer = decide(Claim("B", "name"), Claim("A", "marker file"))
    assert answer == Answer(
        outcome=Outcome.CONTRADICTION, claim=None, said=(Claim("A", "marker file"), Claim("B", "name"))
    )


def test_one_source_that_says_two_things_is_a_contradiction() -> None:
    assert decide(Claim("A", "name"), Claim("B", "name")).outcome is Outcome.CONTRADICTION


def test_a_source_the_profile_does_not_believe_is_not_heard() -> None:
    assert decide(Claim("A", "name"), sources=("device",)) == Answer(
        outcome=Outcome.ABSENT, claim=None, said=()
    )


@given(st.lists(CLAIMS, max_size=8), st.lists(st.sampled_from(ALL), unique=True), st.randoms())
def test_the_answer_never_depends_on_the_order_and_is_never_a_guess(
    claims: list[Claim], sources: list[str], shuffler: object
) -> None:
    answer = decide_identity(sources, claims)
    shuffled = sorted(claims, key=lambda _: shuffler.random())  # type: ignore[attr-defined]
    assert decide_identity(sources, shuffled + claims) == answer
    heard = [claim for claim in claims if claim.source in sources]
    values = {claim.value.casefold() for claim in heard}
    assert (answer.outcome is Outcome.KNOWN) == (answer.claim is not None) == (len(values) == 1)
    assert (answer.outcome is Outcome.ABSENT) == (not values)
    assert set(answer.said) == set(heard)
    if answer.claim is not None:
        first = min(sources.index(claim.source) for claim in heard)
        assert answer.claim in heard
        assert answer.claim.source == sources[first]


@given(st.lists(CLAIMS, min_size=1, max_size=6), CLAIMS)
def test_another_voice_never_turns_one_number_into_another(claims: list[Claim], more: Claim) -> None:
    before, after = decide(*claims), decide(*claims, more)
    if before.value is not None and after.value is not None:
        assert before.value.casefold() == after.value.casefold()


def test_a_serial_number_of_usb_is_no_source_at_all() -> None:
    assert not any("serial" in source for source in ALL)
    assert set(ALL) <= SOURCES
    roles = PROFILE_SCHEMA["properties"]["identity"]["properties"]
    assert roles["recorder"]["items"]["enum"] == roles["officer"]["items"]["enum"] == list(ALL)


@pytest.mark.parametrize("value", [None, "", " ", "\0\0", "000000", "x" * 1025])
def test_a_number_nobody_set_is_no_number(value: str | None) -> None:
    assert claim_of(DROP.identity, value, "device") is None


def test_what_the_device_answers_is_a_claim_of_the_device() -> None:
    claims = device_claims(DROP.identity, DeviceSays(recorder="ZFY0042\0\0", officer="000000"))
    assert (claims.recorder, claims.officer) == (Claim("ZFY0042", "device"), None)


# --- marker files --------------------------------------------------------------------------------------------------


def marked(encoding: str, regex: str = "(?m)编号[:：] *(?P<recorder>[0-9A-Z]+)") -> Identity:
    return Identity.from_table(
        {
            "recorder": ["marker file"],
            "marker": {"path": "/设备/info.txt", "regex": regex, "encoding": encoding},
        }
    )


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("utf-8", "\ufeff型号：X\r\n编号：ZFY42\r\n".encode()),
        ("gbk", "型号：X\r\n编号：ZFY42\r\n".encode("gb18030")),
        ("utf-16", "编号：ZFY42\r\n".encode("utf-16")),
    ],
)
def test_a_marker_file_is_read_in_its_encoding(encoding: str, data: bytes) -> None:
    profile = replace(DROP, identity=marked(encoding))
    assert claims_from_marker(profile, data).recorder == Claim("ZFY42", "marker file")


def test_only_the_beginning_of_a_marker_file_is_looked_at() -> None:
    late = b"x" * MAX_MARKER_BYTES + b"\nrecorder = ZFY0042\n"
    assert claims_from_marker(DROP, late).recorder is None
    assert claims_from_marker(DROP, late[-30:]).recorder == Claim("ZFY0042", "marker file")


def test_a_marker_file_is_found_in_any_letter_case() -> None:
    marker = marked("utf-8").marker
    assert marker is not None
    assert marker.is_at("设备/INFO.TXT")
    assert not marker.is_at("x/设备/info.txt")


@given(st.binary(max_size=2000))
def test_any_bytes_are_a_harmless_marker_file(data: bytes) -> None:
    for encoding in ("utf-8", "gbk", "utf-16"):
        profile = replace(DROP, identity=marked(encoding, "(?s)(?P<recorder>.+)"))
        claims_from_marker(profile, data)
        marker_parts(profile, data)


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ({"recorder": ["marker file"]}, "identity.recorder"),
        ({"marker": {"path": "/a", "regex": "(?P<recorder>x)", "encoding": "utf-8"}}, "identity.recorder"),
        (
            {
                "recorder": ["marker file"],
                "marker": {"path": "/a", "regex": "(?P<officer>x)", "encoding": "gbk"},
            },
            "identity.recorder",
        ),
        ({"marker": {"path": "//", "regex": "(?P<firmware>x)", "encoding": "utf-8"}}, "identity.marker.path"),
        ({"marker": {"path": "/a", "regex": "(?P<colour>x)", "encoding": "utf-8"}}, "identity.marker.regex"),
    ],
)
def test_sources_and_what_they_are_read_with_go_together(table: dict[str, object], key: str) -> None:
    with pytest.raises(ProfileMalformedError) as caught:
        Identity.from_table(table)
    assert caught.value.key == key
