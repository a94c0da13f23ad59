"""Valid inputs of every parser: where a search for bad ones begins."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from agent.keys.enrolment import Enrolment
from firmware_profiles.load import FILE_NAME
from protocol import ed25519
from protocol.admission import Admission, AdmissionResult
from protocol.bundle import BundleLayout, Member
from protocol.digest import Digest
from protocol.enrolment import EnrolmentRequest, EnrolmentResponse, MqttAddress
from protocol.enrolment_code import EnrolmentCode
from protocol.enrolment_proof import enrolment_proof_json
from protocol.entry import LogEntry
from protocol.listing import ListingRow, RowState, encode_listing
from protocol.statements import encode, parse_statement, sign_statement
from protocol.upload import Purpose
from tests.support.evidence import AGENCY, COLLECTOR_SEED, NOW, STATION, STATION_SEED, Story
from tests.support.specimens import SPECIMENS

STORY: Final = Story()
KEY: Final = STORY.log.log_key.verifier
COLLECTOR_PUBLIC: Final = ed25519.public_from_seed(COLLECTOR_SEED)
STATION_PUBLIC: Final = ed25519.public_from_seed(STATION_SEED)


def statements() -> list[bytes]:
    return [encode(statement) for statement in SPECIMENS.values()]


def envelopes() -> list[bytes]:
    return [sign_statement(STORY.manifest, STATION_SEED).to_bytes()]


def listings() -> list[bytes]:
    paths = [b"A.JPG", b"DCIM/\xff\xfe.mp4", "执法.MP4".encode("gbk"), b"a\x1bb"]
    digest = Digest.of(b"earlier")
    rows = [
        ListingRow(raw_path=paths[0], size_bytes=5, modified_at=NOW, state=RowState.TO_READ),
        ListingRow(raw_path=paths[1], size_bytes=0, modified_at=None, state=RowState.EXCLUDED, rule="trash"),
        ListingRow(raw_path=paths[3], size_bytes=1, modified_at=NOW, state=RowState.KNOWN, manifest=digest),
        ListingRow(raw_path=paths[2], size_bytes=9, modified_at=NOW, state=RowState.UNREADABLE, rule="bad"),
    ]
    return [b"".join(encode_listing(sorted(rows, key=lambda row: row.raw_path)))]


def bundles() -> list[bytes]:
    contents = [
        (Purpose.ORIGINAL, b"a photograph" * 50),
        (Purpose.LISTING, b""),
        (Purpose.RENDITION, bytes(512)),
    ]
    members = [
        Member(purpose=purpose, digest=Digest.of(content), size_bytes=len(content))
        for purpose, content in contents
    ]
    pieces = BundleLayout(members).pieces()
    return [
        b"".join(
            piece if isinstance(piece, bytes) else contents[piece.member][1][piece.start : piece.end]
            for piece in pieces
        )
    ]


def admissions() -> list[bytes]:
    results = (
        AdmissionResult.admitted(STORY.manifest_id, 3),
        AdmissionResult.refused(STORY.inventory_id, "malformed", "why", retryable=False),
    )
    return [
        Admission(station=STATION, issued_at=NOW, results=results, checkpoint=STORY.log.note).to_payload()
    ]


def enrolment_code() -> EnrolmentCode:
    return EnrolmentCode(
        url="https://collector.example:8443",
        secret=bytes(32),
        ca_fingerprint=Digest.of(b"ca"),
        log_key=KEY,
        station=STATION,
        agencies=(AGENCY,),
    )


PEM: Final = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


def requests() -> list[bytes]:
    request = EnrolmentRequest(
        secret=bytes(32), csr_pem=PEM, public_key=STATION_PUBLIC, proof_of_possession=bytes(64)
    )
    return [request.to_bytes()]


def response() -> EnrolmentResponse:
    return EnrolmentResponse(
        certificate_pem=PEM,
        ca_pem=PEM,
        station=STATION,
        agencies=(AGENCY,),
        collector_public_key=COLLECTOR_PUBLIC,
        mqtt=MqttAddress(host="collector.example", port=8883),
        enrolled=enrolment_proof_json([STORY.log.item(0), STORY.log.item(1)]),
    )


def entries() -> list[bytes]:
    pairs = zip(STORY.log.envelopes, ("enrolled station", "inventory of everything known"), strict=False)
    return [LogEntry.of(envelope, parse_statement(envelope.payload)).to_bytes() for envelope, _ in pairs]


HEADERS: Final = (
    b"Tus-Resumable: 1.0.0\nUpload-Length: 10\nUpload-Offset: 5\nContent-Length: 5\n"
    b"Content-Type: application/offset+octet-stream\n"
    b"Upload-Checksum: sha256 R2hzgxmnKC9BNcI7FTlECVCKP0vRtDdSDk8n/iDbqTA=\n"
    b"Repr-Digest: sha-256=:R2hzgxmnKC9BNcI7FTlECVCKP0vRtDdSDk8n/iDbqTA=:\n"
    b"Upload-Metadata: agency " + b"aG91c2luZw==" + b",purpose b3JpZ2luYWw=\nUpload-Expires: never"
)


FFPROBE: Final = json.dumps(
    {
        "streams": [
            {
                "index": 0,
                "codec_type": "video",
                "codec_name": "h264",
                "width": 1920,
                "height": 1080,
                "pix_fmt": "yuv420p",
                "avg_frame_rate": "30000/1001",
                "duration": "12.5",
                "disposition": {"attached_pic": 0},
                "side_data_list": [{"rotation": -90}],
                "tags": {"creation_time": "2026-01-31T08:15:30.000000Z"},
            },
            {"index": 1, "codec_type": "audio", "codec_name": "aac", "sample_rate": "48000", "channels": 2},
        ],
        "format": {
            "format_name": "mov,mp4",
            "duration": "12.5",
            "size": "1000",
            "tags": {"location": "+39.9042+116.4074+050.0/", "creation_time": "2026-01-31T08:15:30Z"},
        },
    }
).encode()


AGENT_TOML: Final = (
    b'dock_dir = "dock"\nzone = "Asia/Shanghai"\nsettle_s = 2.0\nbays_at_once = 4\nreserve_mib = 64\n'
    b'keep_days = 7\n[holders]\n"ZFY0001" = "housing"\n[release]\nenabled = false\n'
)


COLLECTOR_TOML: Final = (
    b"name = 'county'\nagencies = ['housing-bureau', 'land-bureau']\nhost = '0.0.0.0'\n"
    b"names = ['collector.example', '10.0.0.5']\nhttp_port = 8443\nmqtt_port = 8883\n"
)


SHEETS: Final = (
    (
        "path,recorder,officer,start time,case,remarks\nDCIM/a.mp4,ZFY0001,031415,2026-01-31 08:15:30,A-1,ok\n",
        "utf-8",
    ),
    ('文件名;记录仪编号;警号;开始时间\r\n"a;b.mp4";ZFY0001;031415;2026年1月31日 08时15分\r\n', "gbk"),
    ("\ufeff文件路径\t拍摄时间\nD:\\clip.mp4\t0001-01-01 00:00:00\n", "utf-8"),
)


def photos() -> list[bytes]:
    from tests.support.exif_bytes import exif_block, with_exif

    block = exif_block({0x0112: 6, 0x010F: "Make"}, {0x9003: "2026:01:31 08:15:30"}, {0x0001: "N"})
    frame = b"\xff\xc0\x00\x0b\x08\x00\x40\x00\x60\x01\x01\x11\x00"
    png = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR\x00\x00\x00\x10\x00\x00\x00\x10\x08\x02\x00\x00\x00"
    return [with_exif(b"\xff\xd8" + frame, block), png]


def exif_blocks() -> list[bytes]:
    from tests.support.exif_bytes import exif_block

    gps: Mapping[int, object] = {
        1: "N",
        2: [(39, 1), (54, 1), (15, 1)],
        3: "E",
        4: [(116, 1), (24, 1), (27, 1)],
    }
    tags = {0x9003: "2026:01:31 08:15:30", 0x9011: "+08:00"}
    return [exif_block({0x0112: 6, 0x010F: "Make"}, tags, gps, order=order) for order in ("<", ">")]  # type: ignore[arg-type]


def profiles() -> list[bytes]:
    folder = Path(__file__).parents[2] / "firmware_profiles"
    return [path.read_bytes() for path in sorted(folder.glob(f"*/{FILE_NAME}"))]


def profile_listings() -> list[bytes]:
    folder = Path(__file__).parents[2] / "firmware_profiles"
    return [path.read_bytes() for path in sorted(folder.glob("*/listings/*.json"))]


def stations_enrolment() -> list[bytes]:
    return [Enrolment.of(enrolment_code(), response()).to_bytes()]


def staged_info() -> list[bytes]:
    return [
        b'{"version": 1, "owner": "dock-1", "agency": "housing", "purpose": "original", "size_bytes": 10,'
        b' "declared": null, "expires_at": "2026-01-31T08:15:30.000Z", "metadata": "agency aGg="}'
    ]
