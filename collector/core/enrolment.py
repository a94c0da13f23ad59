"""Whether an enrolment code admits a station (pure): the secret is good once, for one key."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import datetime

from protocol.enrolment import (
    CODE_EXPIRED,
    CODE_UNKNOWN,
    CODE_USED,
    CODE_WITHDRAWN,
    EnrolmentRequest,
)
from protocol.enrolment_code import check_agencies
from protocol.ids import parse_name
from protocol.keyring import KeyRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeRecord:
    """What the collector keeps of a code it gave out; of the secret only the hash."""

    secret_hash: bytes
    station: str
    agencies: tuple[str, ...]
    expires_at: datetime
    used_by: str | None = None
    """Key id that enrolled with it; the caller stores it in the same transaction that acts on the grant."""
    withdrawn: bool = False
    """The code, or the key it enrolled, was withdrawn by a person."""

    def __post_init__(self) -> None:
        parse_name(self.station, "station")
        check_agencies(self.agencies)
        if self.expires_at.tzinfo is None:
            raise ValueError("naive time in a code record")


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentGrant:
    """The key may be enrolled. ``repeated``: it already was, and only asks for its answer again."""

    station: str
    agencies: tuple[str, ...]
    public_key: bytes
    key_id: str
    repeated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentRefusal:
    """Why not: a stable code, the HTTP status and one sentence for the person at the station."""

    code: str
    status: int
    message: str


def decide_enrolment(
    request: EnrolmentRequest, record: CodeRecord | None, now: datetime
) -> EnrolmentGrant | EnrolmentRefusal:
    """Judge a request against the record found for its secret hash, None where there is none.

    Raises KeyRejectedError or SignatureError if the request does not prove its key: that is judged first, so a
    refusal never tells anything to somebody without a key. The key that used the code may repeat at any time
    (its answer may have been lost on the way); any other key is refused, even before the code expires.
    """
    request.verify()
    if record is None or not hmac.compare_digest(record.secret_hash, request.secret_hash):
        return _refuse(CODE_UNKNOWN, 403, "No such enrolment code was given out by this collector.")
    if record.withdrawn:
        return _refuse(CODE_WITHDRAWN, 403, "This enrolment code was withdrawn.")
    if record.used_by is not None and record.used_by != request.key_id:
        return _refuse(CODE_USED, 409, "This enrolment code was already used, by another key.")
    if record.used_by is None and now >= record.expires_at:
        return _refuse(CODE_EXPIRED, 403, "This enrolment code has expired.")
    return EnrolmentGrant(
        station=record.station,
        agencies=record.agencies,
        public_key=request.public_key,
        key_id=request.key_id,
        repeated=record.used_by is not None,
    )


def stands_enrolled(record: KeyRecord, station: str, agency: str) -> bool:
    """Whether the log needs no further entry: it has the key for this agency under this name, and not revoked."""
    return (record.name, record.agency, record.revoked_index) == (station, agency, None)


def _refuse(code: str, status: int, message: str) -> EnrolmentRefusal:
    return EnrolmentRefusal(code=code, status=status, message=message)
