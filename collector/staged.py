"""One upload in progress as a value, and the small file that brings its creation over a restart."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from protocol.digest import Digest
from protocol.ids import parse_name, parse_random_id
from protocol.times import format_time, parse_time
from protocol.upload import Purpose


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedUpload:
    """One upload as far as it is durable. ``size_bytes`` is None while deferred; ``actual`` is the digest of a
    complete upload (None right after a restart, until ``Staging.measure``); ``stored`` ones are only remembered."""

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
    stored: bool = False

    @property
    def is_complete(self) -> bool:
        return self.offset_bytes == self.size_bytes


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
    """The upload with nothing counted yet. Raises ValueError, KeyError, TypeError or ProtocolError for bytes that
    ``format_info`` did not make."""
    fields = json.loads(data)
    size, declared, metadata = fields["size_bytes"], fields["declared"], fields["metadata"]
    if fields["version"] != 1 or not isinstance(size, int | None) or not isinstance(metadata, str | None):
        raise ValueError("not an info file of this version")
    return StagedUpload(
        upload_id=parse_random_id(upload_id, "upload id"),
        owner=parse_name(fields["owner"], "owner"),
        agency=parse_name(fields["agency"], "agency"),
        purpose=Purpose(fields["purpose"]),
        size_bytes=size,
        offset_bytes=0,
        declared=Digest.parse(declared) if declared is not None else None,
        actual=None,
        expires_at=parse_time(fields["expires_at"]),
        metadata=metadata,
    )
