"""The tus 1.0.0 upload dialogue as pure decisions, for both sides: header values in, accepted values or an
UploadError out.

The server asks ``decide_creation``, ``decide_part`` and ``decide_deletion`` before it touches a byte. What the
sender does with the answers is ``upload_client``. Bytes, time and storage belong to the callers. Clauses are
those of the tus resumable upload protocol 1.0.0; ``Repr-Digest`` is RFC 9530.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from protocol.digest import Digest
from protocol.errors import AgencyNotAllowedError, ProtocolError
from protocol.limits import MAX_BUNDLE_BYTES, MAX_ORIGINAL_BYTES
from protocol.upload_errors import (
    ChecksumMismatchError,
    ContentTypeError,
    OffsetConflictError,
    TooLargeError,
    TusVersionError,
    UploadDigestError,
    UploadHeaderError,
    UploadStoredError,
)

TUS_VERSION: Final = "1.0.0"
EXTENSIONS: Final = (
    "creation",
    "creation-with-upload",
    "creation-defer-length",
    "checksum",
    "expiration",
    "termination",
)
CHECKSUM_BYTES: Final[Mapping[str, int]] = {"sha1": 20, "sha256": 32}
"""Algorithms of Upload-Checksum and the length of their values; sha1 is what the standard demands."""

UPLOADS_PATH: Final = "/api/v1/uploads"
PART_CONTENT_TYPE: Final = "application/offset+octet-stream"

TUS_RESUMABLE: Final = "Tus-Resumable"
TUS_VERSIONS: Final = "Tus-Version"
TUS_EXTENSION: Final = "Tus-Extension"
TUS_MAX_SIZE: Final = "Tus-Max-Size"
TUS_CHECKSUM_ALGORITHM: Final = "Tus-Checksum-Algorithm"
UPLOAD_OFFSET: Final = "Upload-Offset"
UPLOAD_LENGTH: Final = "Upload-Length"
UPLOAD_DEFER_LENGTH: Final = "Upload-Defer-Length"
UPLOAD_METADATA: Final = "Upload-Metadata"
UPLOAD_CHECKSUM: Final = "Upload-Checksum"
UPLOAD_EXPIRES: Final = "Upload-Expires"
UPLOAD_CONCAT: Final = "Upload-Concat"
METHOD_OVERRIDE: Final = "X-HTTP-Method-Override"
REPR_DIGEST: Final = "Repr-Digest"
CONTENT_TYPE: Final = "Content-Type"
CONTENT_LENGTH: Final = "Content-Length"
CONTENT_ENCODING: Final = "Content-Encoding"

MAX_UPLOAD_BYTES: Final = MAX_ORIGINAL_BYTES
"""One upload: the largest original; a bundle of small files stays far below it."""

MAX_METADATA_CHARS: Final = 4096
"""Upload-Metadata: ours uses 200; foreign clients add file names of up to 4096 bytes at most in practice."""

_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,15}")
_KEY: Final = re.compile(r"[!-+\--~]+")  # printable ASCII without space and comma
_REPR_DIGEST: Final = re.compile(r"(?:^|,)[ \t]*sha-256=:([A-Za-z0-9+/]{43}=):[ \t]*(?:;[^,]*)?(?=,|$)")


class Purpose(StrEnum):
    """What the bytes of an upload are to become."""

    ORIGINAL = "original"
    RENDITION = "rendition"
    LISTING = "listing"
    BUNDLE = "bundle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checksum:
    """Value of ``Upload-Checksum``: what one request's body must hash to."""

    algorithm: str
    value: bytes

    @classmethod
    def parse(cls, text: str) -> Checksum:
        """Raises UploadHeaderError for an algorithm not in CHECKSUM_BYTES or a value of the wrong length."""
        algorithm, _, coded = text.partition(" ")
        length = CHECKSUM_BYTES.get(algorithm)
        if length is None:
            raise UploadHeaderError(f"{UPLOAD_CHECKSUM}: algorithm {algorithm[:20]!r} is not supported")
        value = _unbase64(coded, UPLOAD_CHECKSUM)
        if len(value) != length:
            raise UploadHeaderError(f"{UPLOAD_CHECKSUM}: a {algorithm} value has {length} bytes")
        return cls(algorithm=algorithm, value=value)

    def __str__(self) -> str:
        return f"{self.algorithm} {base64.b64encode(self.value).decode()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Creation:
    """An accepted creation. ``metadata`` is the header as it came, because HEAD must return it unchanged."""

    agency: str
    purpose: Purpose
    size_bytes: int | None
    declared: Digest | None
    metadata: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """An accepted request body: where it starts, how much it may bring, and the length if now announced."""

    offset_bytes: int
    room_bytes: int
    size_bytes: int | None
    checksum: Checksum | None


def check_version(headers: Mapping[str, str]) -> None:
    """Every request but OPTIONS names the version it speaks. Raises TusVersionError."""
    if headers.get(TUS_RESUMABLE) != TUS_VERSION:
        raise TusVersionError(f"{TUS_RESUMABLE} must be {TUS_VERSION}")


def parse_number(headers: Mapping[str, str], name: str) -> int | None:
    """A length or offset header: decimal, no sign, no leading zero; None if absent. Raises UploadHeaderError."""
    text = headers.get(name)
    if text is None:
        return None
    if not _NUMBER.fullmatch(text):
        raise UploadHeaderError(f"{name} must be a non-negative decimal integer")
    return int(text)


def parse_metadata(text: str | None) -> dict[str, bytes]:
    """Keys and decoded values of ``Upload-Metadata``. Raises UploadHeaderError; an empty header is no metadata."""
    if not text:
        return {}
    if len(text) > MAX_METADATA_CHARS:
        raise UploadHeaderError(f"{UPLOAD_METADATA} is longer than {MAX_METADATA_CHARS} characters")
    pairs: dict[str, bytes] = {}
    for item in text.split(","):
        key, _, coded = item.strip(" ").partition(" ")
        if not _KEY.fullmatch(key) or key in pairs:
            raise UploadHeaderError(f"{UPLOAD_METADATA}: keys are unique, not empty, printable ASCII")
        pairs[key] = _unbase64(coded, UPLOAD_METADATA)
    return pairs


def format_metadata(pairs: Mapping[str, bytes]) -> str:
    """The inverse of ``parse_metadata``. Raises UploadHeaderError for a key the header cannot carry."""
    for key in pairs:
        if not _KEY.fullmatch(key):
            raise UploadHeaderError(f"{UPLOAD_METADATA} cannot carry the key {key[:40]!r}")
    coded = ((key, base64.b64encode(value).decode()) for key, value in pairs.items())
    return ",".join(f"{key} {value}" if value else key for key, value in coded)


def format_repr_digest(digest: Digest) -> str:
    """RFC 9530 field value of a SHA-256: ``sha-256=:<base64>:``."""
    return f"sha-256=:{base64.b64encode(digest.raw).decode()}:"


def parse_repr_digest(text: str) -> Digest | None:
    """The SHA-256 among the digests of the field, None if there is none that can be read."""
    match = _REPR_DIGEST.search(text)
    if match is None:
        return None
    return Digest.sha256(base64.b64decode(match[1]).hex())


def decide_creation(headers: Mapping[str, str], *, agencies: Collection[str]) -> Creation:
    """May this POST create an upload for one of the sender's ``agencies``?

    Foreign clients may leave out our metadata: the purpose is then an original and the agency the sender's only
    one. Raises UploadError subclasses and AgencyNotAllowedError.
    """
    if UPLOAD_CONCAT in headers:
        raise UploadHeaderError("concatenation is not offered")
    text = headers.get(UPLOAD_METADATA)
    pairs = parse_metadata(text)
    purpose, size_bytes = _purpose(pairs.get("purpose")), _announced_length(headers)
    declared = _declared(pairs.get("digest"))
    if purpose is Purpose.BUNDLE:
        _check_bundle(size_bytes, declared)
    return Creation(
        agency=_agency(pairs.get("agency"), agencies),
        purpose=purpose,
        size_bytes=size_bytes,
        declared=declared,
        metadata=text or None,
    )


def decide_part(headers: Mapping[str, str], *, offset_bytes: int, size_bytes: int | None) -> Part:
    """May this PATCH append at ``offset_bytes``, the durable bytes of an upload of ``size_bytes`` (None while
    deferred)? Raises UploadError subclasses; then the upload must not be touched."""
    check_part_type(headers)
    start = parse_number(headers, UPLOAD_OFFSET)
    if start is None:
        raise UploadHeaderError(f"{UPLOAD_OFFSET} is missing")
    if start != offset_bytes:
        raise OffsetConflictError(f"the next byte wanted is {offset_bytes}, the part starts at {start}")
    return decide_body(headers, offset_bytes=offset_bytes, size_bytes=_final_length(headers, size_bytes))


def decide_body(headers: Mapping[str, str], *, offset_bytes: int, size_bytes: int | None) -> Part:
    """The rules a PATCH and the body of a creation share: length, room and checksum of the bytes to come."""
    limit = MAX_UPLOAD_BYTES if size_bytes is None else size_bytes
    if offset_bytes > limit:
        raise UploadHeaderError(f"{UPLOAD_LENGTH} {limit} is below the {offset_bytes} bytes already here")
    room = limit - offset_bytes
    coming = parse_number(headers, CONTENT_LENGTH)
    if coming is not None and coming > room:
        raise TooLargeError(f"a part of {coming} bytes does not fit into the {room} bytes left")
    checksum = headers.get(UPLOAD_CHECKSUM)
    return Part(
        offset_bytes=offset_bytes,
        room_bytes=room,
        size_bytes=size_bytes,
        checksum=None if checksum is None else Checksum.parse(checksum),
    )


def check_part_type(headers: Mapping[str, str]) -> None:
    """A body that carries bytes of an upload has one type and no content coding: an HTTP library that unpacks
    gzip on the way would make offsets mean something else. Raises ContentTypeError."""
    if headers.get(CONTENT_TYPE, "").partition(";")[0].strip().lower() != PART_CONTENT_TYPE:
        raise ContentTypeError(f"{CONTENT_TYPE} must be {PART_CONTENT_TYPE}")
    if headers.get(CONTENT_ENCODING, "identity").strip().lower() != "identity":
        raise ContentTypeError(f"{CONTENT_ENCODING} must be absent")


def check_checksum(checksum: Checksum, value: bytes) -> None:
    """Raises ChecksumMismatchError when the part's bytes hash to something else."""
    if checksum.value != value:
        actual = Checksum(algorithm=checksum.algorithm, value=value)
        raise ChecksumMismatchError(f"the part was announced as {checksum} and arrived as {actual}")


def check_declared(declared: Digest | None, actual: Digest) -> None:
    """Raises UploadDigestError when a complete upload is not what its creation declared."""
    if declared is not None and declared != actual:
        raise UploadDigestError(
            "the complete upload has another digest", expected=str(declared), actual=str(actual)
        )


def decide_deletion(*, stored: bool) -> None:
    """May the sender terminate the upload? Raises UploadStoredError once it became evidence."""
    if stored:
        raise UploadStoredError("the upload is stored and cannot be deleted")


def _announced_length(headers: Mapping[str, str]) -> int | None:
    length = parse_number(headers, UPLOAD_LENGTH)
    deferred = headers.get(UPLOAD_DEFER_LENGTH)
    if deferred not in (None, "1"):
        raise UploadHeaderError(f"{UPLOAD_DEFER_LENGTH} can only be 1")
    if (length is None) == (deferred is None):
        raise UploadHeaderError(f"exactly one of {UPLOAD_LENGTH} and {UPLOAD_DEFER_LENGTH} is needed")
    return _within_limit(length)


def _check_bundle(length: int | None, declared: Digest | None) -> None:
    if declared is not None:
        raise UploadHeaderError(f"{UPLOAD_METADATA}: a bundle has no digest, its members have")
    if length is None:
        raise UploadHeaderError(f"a bundle announces its {UPLOAD_LENGTH}")
    if length > MAX_BUNDLE_BYTES:
        raise TooLargeError(f"a bundle has at most {MAX_BUNDLE_BYTES} bytes")


def _final_length(headers: Mapping[str, str], known: int | None) -> int | None:
    length = _within_limit(parse_number(headers, UPLOAD_LENGTH))
    if None not in (length, known) and length != known:
        raise UploadHeaderError(f"{UPLOAD_LENGTH} was {known} and cannot become {length}")
    return known if length is None else length


def _within_limit(length: int | None) -> int | None:
    if length is not None and length > MAX_UPLOAD_BYTES:
        raise TooLargeError(f"an upload has at most {MAX_UPLOAD_BYTES} bytes")
    return length


def _agency(value: bytes | None, agencies: Collection[str]) -> str:
    if value is None:
        if len(agencies) != 1:
            raise UploadHeaderError(f"{UPLOAD_METADATA} must name the agency")
        return next(iter(agencies))
    agency = value.decode("ascii", "replace")
    if agency not in agencies:
        raise AgencyNotAllowedError("the sender may not upload for this agency")
    return agency


def _purpose(value: bytes | None) -> Purpose:
    try:
        return Purpose.ORIGINAL if value is None else Purpose(value.decode())
    except ValueError as error:
        raise UploadHeaderError(f"{UPLOAD_METADATA}: purpose is one of {', '.join(Purpose)}") from error


def _declared(value: bytes | None) -> Digest | None:
    try:
        return None if value is None else Digest.parse(value.decode())
    except (ValueError, ProtocolError) as error:
        raise UploadHeaderError(f"{UPLOAD_METADATA}: digest is written sha256:<64 hex digits>") from error


def _unbase64(text: str, header: str) -> bytes:
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise UploadHeaderError(f"{header}: a value is not base64") from error
