"""Do the small words of the protocol - claims, times, names, digests - have one spelling each?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from protocol.claims import SOURCES, Claim, TimeClaim
from protocol.digest import Digest
from protocol.errors import DigestMismatchError, MalformedError, ProtocolError, UnknownKindError
from protocol.ids import COLLECTOR, parse_agency, parse_name, parse_random_id
from protocol.limits import MAX_TEXT_CHARS
from protocol.times import format_time, parse_time

MOMENT = datetime(2026, 1, 31, 8, 15, 30, 123_000, tzinfo=UTC)
WRITTEN = "2026-01-31T08:15:30.123Z"


@pytest.mark.parametrize("source", sorted(SOURCES))
def test_a_claim_is_read_as_it_was_written(source: str) -> None:
    claim, moment = Claim("ABC1234", source), TimeClaim(MOMENT, source)
    assert claim.to_json() == {"value": "ABC1234", "source": source}
    assert Claim.from_json(claim.to_json()) == claim
    assert TimeClaim.from_json(moment.to_json()) == moment


@pytest.mark.parametrize(
    "value",
    [
        None,
        "ABC1234",
        [],
        {},
        {"value": "x"},
        {"source": "name"},
        {"value": "x", "source": "guess"},
        {"value": "x", "source": "Name"},
        {"value": 1, "source": "name"},
        {"value": "x", "source": None},
        {"value": "", "source": "name"},
        {"value": "x" * (MAX_TEXT_CHARS + 1), "source": "name"},
        {"value": "x", "source": "name", "sure": True},
    ],
)
def test_what_is_no_claim_is_malformed(value: object) -> None:
    with pytest.raises(MalformedError):
        Claim.from_json(value)
    with pytest.raises(MalformedError):
        TimeClaim.from_json(value)


def test_a_claim_needs_a_known_source_where_it_is_made() -> None:
    with pytest.raises(MalformedError, match="unknown source"):
        Claim("x", "guess")
    with pytest.raises(MalformedError, match="unknown source"):
        TimeClaim(MOMENT, "guess")


def test_a_claimed_time_is_aware() -> None:
    with pytest.raises(ValueError, match="naive"):
        TimeClaim(MOMENT.replace(tzinfo=None), "name")


def test_a_time_has_one_spelling() -> None:
    assert format_time(MOMENT) == WRITTEN
    assert parse_time(WRITTEN) == MOMENT
    assert parse_time(WRITTEN).tzinfo == UTC


def test_a_time_of_another_zone_is_written_in_utc() -> None:
    assert format_time(MOMENT.astimezone(timezone(timedelta(hours=8)))) == WRITTEN


def test_what_is_below_milliseconds_is_cut_not_rounded() -> None:
    assert format_time(MOMENT.replace(microsecond=999_999)) == "2026-01-31T08:15:30.999Z"


@pytest.mark.parametrize(
    "moment", [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)]
)
def test_the_first_and_the_last_time_survive(moment: datetime) -> None:
    assert parse_time(format_time(moment)) == moment


def test_a_naive_time_is_not_written() -> None:
    with pytest.raises(ValueError, match="naive"):
        format_time(MOMENT.replace(tzinfo=None))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-01-31",
        "2026-01-31T08:15:30Z",
        "2026-01-31T08:15:30.123",
        "2026-01-31T08:15:30.1234Z",
        "2026-01-31T08:15:30,123Z",
        "2026-01-31 08:15:30.123Z",
        "2026-01-31T08:15:30.123z",
        "2026-01-31T08:15:30.123+00:00",
        "2026-01-31T16:15:30.123+08:00",
        "2026-01-31T08:15:30.123Z\n",
        " 2026-01-31T08:15:30.123Z",
        "20260131T081530.123Z",
        "02026-01-31T08:15:30.123Z",
        "٢٠٢٦-01-31T08:15:30.123Z",
        "2026-02-30T08:15:30.123Z",
        "2026-13-01T08:15:30.123Z",
        "2026-01-31T24:00:00.000Z",
        "2026-01-31T08:15:60.000Z",
        "0000-01-01T00:00:00.000Z",
    ],
)
def test_any_other_spelling_of_a_time_is_malformed(text: str) -> None:
    with pytest.raises(MalformedError):
        parse_time(text)


@pytest.mark.parametrize("name", ["a", "7", "lands-bureau", "a--b", "0" * 63])
def test_a_name_is_returned_unchanged(name: str) -> None:
    assert parse_name(name, "station") == parse_agency(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "-",
        "-a",
        "a-",
        "A",
        "a_b",
        "a.b",
        "a/b",
        "a+b",
        "#",
        "..",
        "a b",
        "a\n",
        "é",
        "执法",
        "0" * 64,
        "٣",
    ],
)
def test_what_could_be_a_path_a_topic_or_another_certificate_is_no_name(name: str) -> None:
    with pytest.raises(MalformedError, match="agency must be"):
        parse_agency(name)


def test_the_collectors_own_name_is_an_agency_but_no_stations_name() -> None:
    assert parse_agency(COLLECTOR) == COLLECTOR
    with pytest.raises(MalformedError):
        parse_name(COLLECTOR, "station")


def test_a_random_id_is_32_hex_digits() -> None:
    assert parse_random_id("0f" * 16, "nonce") == "0f" * 16
    for text in ("", "0" * 31, "0" * 33, "0F" * 16, "g" * 32, "0" * 32 + "\n", "٠" * 32):
        with pytest.raises(MalformedError, match="nonce must be"):
            parse_random_id(text, "nonce")


def test_a_digest_has_one_spelling() -> None:
    digest = Digest.of(b"abc")
    assert str(digest) == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert Digest.parse(str(digest)) == Digest.sha256(digest.hex) == digest
    assert digest.raw.hex() == digest.hex


@pytest.mark.parametrize(
    "text",
    ["", "0" * 64, "sha256:", "sha256:" + "0" * 63, "sha256:" + "A" * 64, "sha256:" + "0" * 64 + "\n"],
)
def test_what_is_no_digest_is_malformed(text: str) -> None:
    with pytest.raises(MalformedError):
        Digest.parse(text)


@pytest.mark.parametrize("text", ["sm3:" + "0" * 64, "SHA256:" + "0" * 64, "md5:" + "0" * 32, ":"])
def test_a_digest_of_another_algorithm_is_unknown(text: str) -> None:
    with pytest.raises(UnknownKindError):
        Digest.parse(text)


def test_a_mismatch_keeps_both_digests() -> None:
    error = DigestMismatchError("not the file", expected="sha256:a", actual="sha256:b")
    assert (error.expected, error.actual, error.code) == ("sha256:a", "sha256:b", "digest-mismatch")
    assert str(error) == "not the file: expected sha256:a, got sha256:b"
    assert isinstance(error, ProtocolError)
