"""Every parser of bytes from outside, as one function each: what may come out, and valid inputs to start from.

Used twice: by the property tests in ``tests/fuzz`` and, for as long as wanted, by ``scripts/fuzz``. A target reads the
bytes and, where they were taken, holds what it read against the parser's promise (one byte form, the same again). Only
errors of the side's tree may come out; anything else is a finding.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC
from functools import cache
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import rfc8785
from multidict import CIMultiDict

from agent.config import AgentConfig
from agent.errors import AgentError
from agent.keys.enrolment import Enrolment
from agent.media.exif import parse_exif, photo_facts
from agent.media.facts import parse_ffprobe
from agent.media.picture import read_picture_header
from agent.media.plan import plan_renditions
from collector.catalogue.cursor import Position, encode_cursor, parse_cursor
from collector.config import CONFIG_NAME, CollectorConfig
from collector.core.byte_ranges import RangeUnsatisfiableError, decide_range
from collector.errors import CollectorError
from collector.importing.sheet import parse_sheet
from collector.keeping.bag import read_manifest
from collector.staged import format_info, parse_info
from firmware_profiles.errors import ProfileError
from firmware_profiles.load import (
    FILE_NAME,
    find_profile_faults,
    load_listing,
    load_profile,
    load_registry,
)
from firmware_profiles.names import claims_from_label, claims_from_marker, claims_from_path
from firmware_profiles.schema import Profile
from firmware_profiles.trial import try_listing
from protocol.admission import open_admission
from protocol.bundle import BundleLayout, BundleParser
from protocol.canonical import canonical, parse_json
from protocol.checkpoint import open_checkpoint, parse_checkpoint_text
from protocol.digest import Digest
from protocol.dsse import ADMISSION_TYPE, Envelope
from protocol.enrolment import EnrolmentRequest, EnrolmentResponse
from protocol.enrolment_code import EnrolmentCode
from protocol.enrolment_proof import verify_enrolment_proof
from protocol.entry import LogEntry
from protocol.errors import ProtocolError
from protocol.limits import MAX_MESSAGE_BYTES
from protocol.listing import encode_listing, parse_listing
from protocol.media_types import media_type_of
from protocol.note import VerifierKey, parse_note
from protocol.receipt import Receipt
from protocol.statements import encode, parse_statement
from protocol.tiles import parse_bundle, parse_tile_path
from protocol.times import format_time, parse_time
from protocol.tlog_proof import parse_tlog_proof
from protocol.topics import Topic
from protocol.upload import (
    decide_creation,
    decide_part,
    format_metadata,
    parse_metadata,
    parse_repr_digest,
)
from protocol.upload_client import decide_after, next_offset
from protocol.verify import check_receipt
from tests.support import fuzz_seeds as seeds
from tests.support.evidence import AGENCY, COLLECTOR_SEED, NOW, STATION

Seeds = Callable[[], Sequence[bytes]]

REGISTRY: Final = load_registry()


@dataclass(frozen=True, slots=True)
class Target:
    """``feed`` parses and checks; ``may_raise`` is all that may come out; ``seeds`` are whole, valid inputs."""

    feed: Callable[[bytes], object]
    may_raise: tuple[type[Exception], ...]
    seeds: Seeds

    def try_out(self, data: bytes) -> None:
        """Raises what is a finding."""
        with suppress(*self.may_raise):
            self.feed(data)


def _text(data: bytes) -> str:
    """As header values reach us: any bytes, undecodable ones as surrogates."""
    return data.decode("utf-8", "surrogateescape")


def _scratch(name: str, data: bytes) -> Path:
    path = _folder() / name
    path.write_bytes(data)
    return path


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))


# --- protocol ------------------------------------------------------------------------------------------------------


def _canonical(data: bytes) -> None:
    value = parse_json(data, max_bytes=MAX_MESSAGE_BYTES, what="input")
    written = canonical(value)
    assert written == rfc8785.dumps(value)  # the fast writer and the plain one
    assert canonical(parse_json(written, max_bytes=len(written), what="output")) == written


def _same_again(read: Callable[[bytes], object], write: Callable[[object], bytes]) -> Callable[[bytes], None]:
    """What was read is written, and what was written is read as the same."""

    def feed(data: bytes) -> None:
        value = read(data)
        assert read(write(value)) == value

    return feed


def _to_bytes(value: object) -> bytes:
    written: bytes = value.to_bytes()  # type: ignore[attr-defined]
    return written


def _one_form(read: Callable[[bytes], object]) -> Callable[[bytes], None]:
    """What is read has exactly one spelling: the one that was given."""

    def feed(data: bytes) -> None:
        assert _to_bytes(read(data)) == data

    return feed


def _listing(data: bytes) -> None:
    rows = list(parse_listing([data[:100], data[100:]]))
    assert b"".join(encode_listing(rows)) == data


def _note(data: bytes) -> None:
    parse_note(data)
    open_checkpoint(data, seeds.KEY)


def _bundle(data: bytes) -> None:
    parser, taken = BundleParser(), 0
    for start in range(0, len(data), 700):
        for piece in parser.feed(memoryview(data)[start : start + 700]):
            taken += len(piece.data)
    if parser.is_complete:
        assert taken == sum(member.size_bytes for member in parser.members)
        assert BundleLayout(parser.members).size_bytes == len(data)


def _entry_bundle(data: bytes) -> None:
    entries = parse_bundle(data[1:], data[0] if data else 0)
    assert b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries) == data[1:]


def _time(data: bytes) -> None:
    text = _text(data)
    assert format_time(parse_time(text)) == text


def _receipt(data: bytes) -> None:
    for check in check_receipt(data, seeds.KEY):
        assert check.name
    receipt = Receipt.from_bytes(data)
    assert Receipt.from_bytes(receipt.to_bytes()) == receipt


def _proof(data: bytes) -> None:
    verify_enrolment_proof(
        parse_json(data, max_bytes=1 << 20, what="proof"),
        log_key=seeds.KEY,
        public_key=seeds.STATION_PUBLIC,
        station=STATION,
        agencies=[AGENCY],
    )


def _admission(data: bytes) -> None:
    """The signature is right, whatever was signed: readers behind it are reached."""
    open_admission(Envelope.sign(ADMISSION_TYPE, data, COLLECTOR_SEED).to_bytes(), seeds.COLLECTOR_PUBLIC)


def _topic(data: bytes) -> None:
    text = _text(data)
    assert str(Topic.parse(text)) == text


def _code(data: bytes) -> None:
    code = EnrolmentCode.from_text(_text(data))
    assert EnrolmentCode.from_text(code.to_text()) == code


def _tile_path(data: bytes) -> None:
    text = _text(data)
    assert parse_tile_path(text).path == text


def _headers(data: bytes) -> CIMultiDict[str]:
    lines = (line.partition(":") for line in _text(data).split("\n"))
    return CIMultiDict((name.strip(), value.strip()) for name, _, value in lines)


def _upload_headers(data: bytes) -> None:
    headers = _headers(data)
    parse_repr_digest(headers.get("Repr-Digest", ""))
    for decide in (
        lambda: decide_creation(headers, agencies={AGENCY}),
        lambda: decide_part(headers, offset_bytes=5, size_bytes=None),
        lambda: decide_part(headers, offset_bytes=5, size_bytes=10),
        lambda: next_offset(headers, size_bytes=10),
    ):
        with suppress(ProtocolError):
            decide()
    for status in (200, 201, 204, 404, 409, 413, 460, 500):
        with suppress(ProtocolError):
            decide_after(status, headers, size_bytes=10, digest=Digest.of(b"0123456789"))


def _metadata(data: bytes) -> None:
    pairs = parse_metadata(_text(data))
    assert parse_metadata(format_metadata(pairs)) == pairs


# --- collector -----------------------------------------------------------------------------------------------------


def _range(data: bytes) -> None:
    for size_bytes in (0, 1, 1000, 2**40):
        with suppress(RangeUnsatisfiableError):
            found = decide_range(_text(data), size_bytes)
            assert found is None or (found.start >= 0 and 0 < found.length <= size_bytes - found.start)


def _cursor(data: bytes) -> None:
    position = parse_cursor(_text(data), "clips")
    assert parse_cursor(encode_cursor(position, "clips"), "clips") == position


def _staged(data: bytes) -> None:
    upload = parse_info("0" * 32, data)
    assert parse_info("0" * 32, format_info(upload)) == upload


def _collector_config(data: bytes) -> None:
    CollectorConfig.load(_scratch(CONFIG_NAME, data).parent)


def _sheet(data: bytes) -> None:
    """With what the importer does with a row's time."""
    for row in parse_sheet(data, ZoneInfo("Asia/Shanghai")).rows.values():
        assert row.path
        if row.started_at is not None:
            format_time(row.started_at.astimezone(UTC))


def _bag(data: bytes) -> None:
    list(read_manifest(_scratch("manifest-sha256.txt", data).parent))


# --- agent and profiles --------------------------------------------------------------------------------------------


def _agent_config(data: bytes) -> None:
    AgentConfig.load(_scratch("agent.toml", data).parent)


def _ffprobe(data: bytes) -> None:
    plan_renditions("video/mp4", parse_ffprobe(data))


def _photo(data: bytes) -> None:
    media_type_of("photo.jpg", data)
    read_picture_header(data)
    plan_renditions("image/jpeg", photo_facts(data))


def _profile(data: bytes) -> None:
    found = re.search(rb'^id = "([a-z0-9_]{1,20})"', data, re.MULTILINE)
    home = _folder() / (found[1].decode() if found else "generic")
    home.mkdir(exist_ok=True)
    (home / FILE_NAME).write_bytes(data)
    faults = find_profile_faults(home)
    try:
        profile = load_profile(home)
    except ProfileError:
        assert faults
        raise
    assert not faults
    _claims_of(b"DCIM/100MEDIA/ZFY0001_012345_20260131081530_0001.MP4", profile)


def _claims_of(path: bytes, *profiles: Profile) -> None:
    text = path.decode("utf-8", "replace")
    for profile in profiles or REGISTRY.profiles:
        claims_from_path(profile, text, UTC)
        claims_from_label(profile, text)
        profile.ignoring_rule(text)


def _marker(data: bytes) -> None:
    for profile in REGISTRY.profiles:
        claims_from_marker(profile, data)


def _profile_listing(data: bytes) -> None:
    listing = load_listing(_scratch("recorded.json", data))
    for profile in REGISTRY.profiles:
        trial = try_listing(REGISTRY, profile, listing, UTC)
        assert len(trial.files) == len(listing.files)


# --- the table -----------------------------------------------------------------------------------------------------


_PROTOCOL: Final = (ProtocolError,)

TARGETS: Final[Mapping[str, Target]] = {
    "canonical-json": Target(_canonical, _PROTOCOL, seeds.statements),
    "statement": Target(_same_again(parse_statement, encode), _PROTOCOL, seeds.statements),  # type: ignore[arg-type]
    "envelope": Target(_same_again(Envelope.from_bytes, _to_bytes), _PROTOCOL, seeds.envelopes),
    "entry": Target(_one_form(LogEntry.from_bytes), _PROTOCOL, seeds.entries),
    "listing": Target(_listing, _PROTOCOL, seeds.listings),
    "note": Target(_note, _PROTOCOL, lambda: [seeds.STORY.log.note]),
    "checkpoint-text": Target(
        lambda data: parse_checkpoint_text(_text(data)),
        _PROTOCOL,
        lambda: [seeds.STORY.log.note.split(b"\n\n")[0] + b"\n"],
    ),
    "verifier-key": Target(
        lambda data: VerifierKey.parse(_text(data)), _PROTOCOL, lambda: [str(seeds.KEY).encode()]
    ),
    "tile-path": Target(_tile_path, _PROTOCOL, lambda: [b"tile/0/x001/234", b"tile/entries/000.p/5"]),
    "entry-bundle": Target(_entry_bundle, _PROTOCOL, lambda: [b"\x02\x00\x01a\x00\x02bc"]),
    "tlog-proof": Target(parse_tlog_proof, _PROTOCOL, lambda: [seeds.STORY.log.item(3).proof.to_bytes()]),
    "receipt": Target(_receipt, _PROTOCOL, lambda: [seeds.STORY.receipt().to_bytes()]),
    "admission": Target(_admission, _PROTOCOL, seeds.admissions),
    "enrolment-code": Target(_code, _PROTOCOL, lambda: [seeds.enrolment_code().to_text().encode()]),
    "enrolment-request": Target(
        _same_again(EnrolmentRequest.from_bytes, _to_bytes), _PROTOCOL, seeds.requests
    ),
    "enrolment-response": Target(
        _same_again(EnrolmentResponse.from_bytes, _to_bytes), _PROTOCOL, lambda: [seeds.response().to_bytes()]
    ),
    "enrolment-proof": Target(_proof, _PROTOCOL, lambda: [canonical(seeds.response().enrolled)]),
    "topic": Target(_topic, _PROTOCOL, lambda: [b"zhilu/v1/housing/dock-1/statements"]),
    "time": Target(_time, _PROTOCOL, lambda: [b"2026-01-31T08:15:30.123Z"]),
    "upload-headers": Target(_upload_headers, _PROTOCOL, lambda: [seeds.HEADERS]),
    "upload-metadata": Target(_metadata, _PROTOCOL, lambda: [b"agency aG91c2luZw==,empty,purpose b3JpZw=="]),
    "bundle": Target(_bundle, _PROTOCOL, seeds.bundles),
    "range-header": Target(_range, (), lambda: [b"bytes=0-99", b"bytes=-5", b"bytes=9-", b"bytes=0-0,5-6"]),
    "cursor": Target(
        _cursor,
        (CollectorError,),
        lambda: [encode_cursor(Position(started_at=NOW, log_index=5), "clips").encode()],
    ),
    "staged-upload": Target(_staged, _PROTOCOL, seeds.staged_info),
    "import-table": Target(
        _sheet, (CollectorError,), lambda: [text.encode(coding) for text, coding in seeds.SHEETS]
    ),
    "backup-manifest": Target(
        _bag, (CollectorError,), lambda: [b"%064d  data/log/checkpoint\n%064d  data/objects/a-b_c\n" % (1, 2)]
    ),
    "collector-config": Target(
        _collector_config, (CollectorError, ProtocolError), lambda: [seeds.COLLECTOR_TOML]
    ),
    "agent-config": Target(_agent_config, (AgentError,), lambda: [seeds.AGENT_TOML]),
    "station-enrolment": Target(Enrolment.from_bytes, (AgentError, ProtocolError), seeds.stations_enrolment),
    "ffprobe": Target(_ffprobe, (AgentError,), lambda: [seeds.FFPROBE]),
    "photo": Target(_photo, (AgentError,), seeds.photos),
    "exif": Target(parse_exif, (), seeds.exif_blocks),
    "profile": Target(_profile, (ProfileError,), seeds.profiles),
    "profile-listing": Target(_profile_listing, (ProfileError,), seeds.profile_listings),
    "profile-marker": Target(
        _marker, (), lambda: [b"recorder = ZFY0042\r\n", "\ufeff编号：1".encode("utf-16")]
    ),
    "file-name": Target(
        _claims_of, (), lambda: [b"DCIM/ZFY0001_012345_20260131081530_0001.MP4", b"100MEDIA/IMAG0001.JPG"]
    ),
}
