"""The enrolment code (注册码): all a station needs to trust its collector and be trusted once, as one line of text.

``zhilu1.<base64url of canonical JSON>.<check>``. It carries the one-time secret, so it is shown once and never
logged; it also pins the CA and the log key, so whoever hands it over is the root of the station's trust.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field
from typing import ClassVar, Final, Self
from urllib.parse import urlsplit

from protocol.canonical import Fields, canonical, parse_canonical
from protocol.digest import Digest
from protocol.errors import LimitError, MalformedError, UnknownKindError
from protocol.ids import parse_name
from protocol.note import VerifierKey

SECRET_BYTES: Final = 32
"""256 random bits: the secret cannot be guessed however long the code is valid."""

MAX_CODE_CHARS: Final = 8192
"""64 agencies of 63 characters, coded, and the fixed part; longer text is not one of our codes."""

MAX_AGENCIES: Final = 64
"""Agencies one station serves: the stations of a county serve a dozen at most."""

MAX_URL_CHARS: Final = 300
"""``https://``, a DNS name (253 characters), a port."""

_PREFIX: Final = "zhilu"
_VERSION: Final = 1
_CHECK_BYTES: Final = 5
_MEMBERS: Final = frozenset({"v", "url", "secret", "ca_sha256", "log_vkey", "station", "agencies"})
_HOST: Final = re.compile(r"[A-Za-z0-9.:-]{1,253}")


class MistypedCodeError(MalformedError):
    """The check characters do not fit: a character of the code is missing, added or changed."""

    code: ClassVar[str] = "enrolment-code-mistyped"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentCode:
    """What the code says. ``url`` is the origin of the collector, https, without path or final slash."""

    url: str
    secret: bytes = field(repr=False)
    ca_fingerprint: Digest
    log_key: VerifierKey
    station: str
    agencies: tuple[str, ...]

    def __post_init__(self) -> None:
        check_origin(self.url)
        parse_name(self.station, "station")
        check_agencies(self.agencies)
        if len(self.secret) != SECRET_BYTES:
            raise MalformedError(f"the secret of an enrolment code has {SECRET_BYTES} bytes")

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Parse what was typed or pasted; white space anywhere is ignored, since mail breaks long lines.

        Raises MistypedCodeError, UnknownKindError (a later version), MalformedError or LimitError.
        """
        return cls._from_json(_decode(text))

    @classmethod
    def _from_json(cls, data: bytes) -> Self:
        value = parse_canonical(data, max_bytes=MAX_CODE_CHARS, what="enrolment code")
        fields = Fields(value, "enrolment code")
        fields.only(_MEMBERS)
        fields.integer("v", minimum=_VERSION, maximum=_VERSION)
        return cls(
            url=fields.text("url", max_chars=MAX_URL_CHARS),
            secret=decode_base64url(fields.text("secret"), "the secret"),
            ca_fingerprint=Digest.sha256(fields.text("ca_sha256")),
            log_key=VerifierKey.parse(fields.text("log_vkey")),
            station=fields.text("station"),
            agencies=parse_agencies(fields),
        )

    def to_text(self) -> str:
        """One line without white space. It contains the secret."""
        body = f"{_PREFIX}{_VERSION}.{encode_base64url(canonical(self._to_json()))}"
        return f"{body}.{_check_group(body)}"

    def _to_json(self) -> dict[str, object]:
        return {
            "v": _VERSION,
            "url": self.url,
            "secret": encode_base64url(self.secret),
            "ca_sha256": self.ca_fingerprint.hex,
            "log_vkey": str(self.log_key),
            "station": self.station,
            "agencies": list(self.agencies),
        }


def check_origin(url: str) -> None:
    """Raises MalformedError unless ``url`` is ``https://host[:port]`` and nothing else."""
    try:
        parts = urlsplit(url)
        rebuilt = f"https://{parts.netloc}"
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise MalformedError(f"not an address of a collector: {url[:80]!r}") from error
    if len(url) > MAX_URL_CHARS or rebuilt != url or "@" in parts.netloc or port == 0:
        raise MalformedError(f"the collector's address is https://host[:port], not {url[:80]!r}")
    if host is None or not _HOST.fullmatch(host) or parts.netloc.endswith(":"):
        raise MalformedError(f"no host in the collector's address {url[:80]!r}")


def check_agencies(agencies: tuple[str, ...]) -> None:
    """Raises MalformedError unless these are 1 to ``MAX_AGENCIES`` different agency names."""
    if not 1 <= len(agencies) <= MAX_AGENCIES or len(set(agencies)) != len(agencies):
        raise MalformedError(f"a station serves 1 to {MAX_AGENCIES} different agencies")
    for agency in agencies:
        parse_name(agency, "agency")


def parse_agencies(fields: Fields) -> tuple[str, ...]:
    """The member ``agencies`` as texts; ``check_agencies`` judges them. Raises MalformedError."""
    items = fields.items("agencies", max_items=MAX_AGENCIES)
    texts = tuple(item for item in items if isinstance(item, str))
    if len(texts) != len(items):
        raise MalformedError("agencies must be a list of texts")
    return texts


def encode_base64url(data: bytes) -> str:
    """RFC 4648 §5 without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode_base64url(text: str, what: str) -> bytes:
    """The inverse of ``encode_base64url``; any other spelling raises MalformedError."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedError(f"{what} is not base64url") from error
    if encode_base64url(data) != text:
        raise MalformedError(f"{what} is not canonical base64url")
    return data


def _decode(text: str) -> bytes:
    if len(text) > MAX_CODE_CHARS:
        raise LimitError(f"an enrolment code has at most {MAX_CODE_CHARS} characters")
    compact = "".join(text.split())
    body, _, check = compact.rpartition(".")
    prefix, dot, encoded = body.partition(".")
    if not dot or not prefix.startswith(_PREFIX):
        raise MistypedCodeError("an enrolment code is zhilu1.<text>.<check>: is a part of it missing?")
    if check != _check_group(body):
        raise MistypedCodeError("the check characters of the enrolment code do not fit: copy it again, whole")
    if prefix != f"{_PREFIX}{_VERSION}":
        raise UnknownKindError(
            f"enrolment code of version {prefix!r}, this program reads {_PREFIX}{_VERSION}"
        )
    return decode_base64url(encoded, "the enrolment code")


def _check_group(body: str) -> str:
    """Eight base32 characters of a SHA-256: against slips, not against forgery."""
    digest = hashlib.sha256(body.encode("utf-8", "replace")).digest()
    return base64.b32encode(digest[:_CHECK_BYTES]).decode("ascii").lower()
