"""One statement of every kind, and of every shape a kind can take: all optional members set, and none."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final

from protocol.canonical import canonical
from protocol.claims import Claim, TimeClaim
from protocol.digest import Digest
from protocol.ids import COLLECTOR
from protocol.statements import (
    Custody,
    KeptRow,
    Media,
    Problem,
    RecorderClock,
    Released,
    ReleaseIntent,
    ReleaseItem,
    Statement,
    encode,
)
from tests.support.evidence import (
    COLLECTOR_SEED,
    NOW,
    STATION_SEED,
    VISIT,
    enrolled,
    header,
    inventory,
    manifest,
    rendition,
    revoked,
    stored,
)

_CONTENT: Final = b"moving pictures"
_ORIGINAL: Final = Digest.of(_CONTENT)
_ID: Final = Digest.of(b"some statement")

_PROBLEM: Final = Problem(code="media-unreadable", detail="no streams")
_MANIFEST: Final = manifest(_CONTENT, _ID)
_MEDIA: Final = Media(
    header=header(10),
    original=_ORIGINAL,
    manifest=_ID,
    media_type="video/mp4",
    duration_ms=60_040,
    started_at=TimeClaim(NOW, "container"),
    recorder=Claim("ABC1234", "exif"),
    facts={"streams": [{"codec": "h264", "width": 1920, "rate": 29.97}], "gnss": None},
    problem=None,
)
_CUSTODY: Final = Custody(
    header=header(11, signer=COLLECTOR),
    event="viewed",
    item=_ORIGINAL,
    item_name="original",
    actor="reviewer-7",
    details={"address": "192.0.2.7", "bytes": 1_000},
)
_INTENT: Final = ReleaseIntent(
    header=header(13),
    visit=VISIT,
    inventory=_ID,
    generation="boot/1/2",
    items=(
        ReleaseItem(row=0, manifest=_ID, digest=_ORIGINAL, stored_index=17),
        ReleaseItem(row=5, manifest=_ID, digest=_ORIGINAL, stored_index=19),
    ),
)
_RELEASED: Final = Released(
    header=header(14), visit=VISIT, intent=_ID, inventory_after=Digest.of(b"inventory after"), kept=()
)

SPECIMENS: Final[dict[str, Statement]] = {
    "inventory": inventory(),
    "inventory of everything known": replace(
        inventory(),
        volume_label="执法 1",
        total_bytes=64_000_000_000,
        battery_percent=100,
        officer=Claim("000123", "config"),
        clock=RecorderClock(offset_ms=-61_250, uncertainty_ms=500, method="device"),
    ),
    "inventory of nothing known": replace(
        inventory(rows=0), listed_bytes=0, volume_label=None, free_bytes=None, recorder=None
    ),
    "manifest": _MANIFEST,
    "manifest of everything known": replace(
        _MANIFEST, modified_at=NOW, marked=True, resumed=True, attempts=3
    ),
    "manifest of nothing known": replace(_MANIFEST, recorder=None, officer=None, started_at=None),
    "media": _MEDIA,
    "media unreadable": replace(
        _MEDIA, duration_ms=None, started_at=None, recorder=None, facts=None, problem=_PROBLEM
    ),
    "rendition": rendition(b"smaller pictures", _ORIGINAL, _ID),
    "rendition not made": replace(
        rendition(b"", _ORIGINAL, _ID), rendition="poster", rendered=None, problem=_PROBLEM
    ),
    "stored": stored(_MANIFEST, _ID),
    "enrolled station": enrolled(STATION_SEED),
    "enrolled collector": enrolled(COLLECTOR_SEED, name=COLLECTOR, agency=COLLECTOR),
    "revoked": revoked(STATION_SEED),
    "custody viewed": _CUSTODY,
    "custody unreadable": replace(_CUSTODY, header=header(12), event="unreadable", details={"row": 3}),
    "custody refused": replace(_CUSTODY, event="refused", details={}),
    "release intent": _INTENT,
    "released": _RELEASED,
    "released but for one": replace(_RELEASED, kept=(KeptRow(row=5, code="file-changed"),)),
}


def as_json(statement: Statement) -> Any:
    """The payload as JSON, for tests that bend it."""
    return json.loads(encode(statement))


def bent(statement: Statement, /, **changes: object) -> bytes:
    """The payload with other members in its predicate; ``...`` takes a member away."""
    value = as_json(statement)
    predicate = value["predicate"] | changes
    value["predicate"] = {name: member for name, member in predicate.items() if member is not ...}
    return canonical(value)
