"""One upload in progress as a value, what it brings, and the small file that brings its creation over a restart."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from protocol.bundle import Member
from protocol.canonical import Fields, parse_json
from protocol.digest import Digest
from protocol.ids import parse_name, parse_random_id
from protocol.times import format_time
from protocol.upload import MAX_METADATA_CHARS, Purpose

MAX_INFO_BYTES: Final = 16_384
"""Info file: metadata of at most 4096 characters and a dozen short fields."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedUpload:
    """One upload as far as it is durable. ``size_bytes`` is None while deferred; ``actual`` is the digest of a
    complete upload (None right after a restart, until ``Staging.measure``); ``stored`` ones are only remembered.
    A bundle has no digest of its own, but ``members``: those that are here whole."""

    upload_id: str
    owner: str
    agency: str
    purpose: Purpose
    size_bytes: int | None
    offset_bytes: int
    declared: Digest | None
    actual: Digest | None
    expires_at: datetime
    metadata: str | None
    members: tuple[Member, ...] = ()
    stored: bool = False
    passed: bytes | None = None
    """XXH3-128 of a complete upload's bytes as they were hashed for ``actual``; not kept over a restart."""

    @property
    def is_complete(self) -> bool:
        return self.offset_bytes == self.size_bytes

    @property
    def is_measured(self) -> bool:
        """Whether it is known what the bytes are."""
        return self.actual is not None or self.purpose is Purpose.BUNDLE


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedBlob:
    """One blob that a complete upload brought: the whole of it, or a member of a bundle. ``sealed``: durable and
    read-only already."""

    agency: str
    purpose: Purpose
    digest: Digest
    size_bytes: int
    path: Path
    sealed: bool
    passed: bytes | None = None


def format_info(upload: StagedUpload) -> bytes:
    """What must survive a restart besides the bytes themselves."""
    fields = {
        "version": 1,
        "owner": upload.owner,
        "agency": upload.agency,
        "purpose": upload.purpose.value,
        "size_bytes": upload.size_bytes,
        "declared": str(upload.declared) if upload.declared else None,
        "expires_at": format_time(upload.expires_at),
        "metadata": upload.metadata,
    }
    return json.dumps(fields).encode()


def parse_info(upload_id: str, data: bytes) -> StagedUpload:
    """The upload with nothing counted yet. Raises ProtocolError for bytes that ``format_info`` did not make."""
    fields = Fields(parse_json(data, max_bytes=MAX_INFO_BYTES, what="an info file"), "an info file")
    fields.integer("version", minimum=1, maximum=1)
    return StagedUpload(
        upload_id=parse_random_id(upload_id, "upload id"),
        owner=parse_name(fields.text("owner"), "owner"),
        agency=parse_name(fields.text("agency"), "agency"),
        purpose=Purpose(fields.one_of("purpose", frozenset(Purpose))),
        size_bytes=fields.optional_integer("size_bytes"),
        offset_bytes=0,
        declared=None if fields.raw("declared") is None else fields.digest("declared"),
        actual=None,
        expires_at=fields.time("expires_at"),
        metadata=fields.optional_text("metadata", max_chars=MAX_METADATA_CHARS),
    )
