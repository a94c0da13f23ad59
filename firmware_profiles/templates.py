"""What is sent to a device: fixed bytes with places for the password and the time. Pure.

Guarantee: neither ``repr`` nor ``shown`` of anything here tells the password.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Self, TypeAlias

from firmware_profiles.errors import PasswordUnfitError, ProfileMalformedError

_FIELD: Final = re.compile(
    r"\{\{|\}\}|\{password(?::(?P<width>[1-9][0-9]{0,2}))?\}|\{now:(?P<format>(?:%[YmdHMSy]|[0-9 :/.T_-])+)\}|[{}]"
)
_HEX: Final = re.compile(r"(?:[0-9A-Fa-f]{2}| )*")


@dataclass(frozen=True, slots=True)
class _Password:
    width: int | None


@dataclass(frozen=True, slots=True)
class _Now:
    format: str


_Part: TypeAlias = bytes | _Password | _Now


@dataclass(frozen=True, slots=True)
class Payload:
    """Bytes to send, some of them secret. ``mask`` has ``*`` at each secret byte."""

    data: bytes = field(repr=False)
    mask: bytes = field(repr=False)

    def shown(self, limit: int) -> str:
        """The first ``limit`` bytes in hexadecimal, secret ones as ``**``."""
        pairs = zip(self.data[:limit], self.mask[:limit], strict=True)
        return " ".join("**" if hidden == ord("*") else f"{byte:02x}" for byte, hidden in pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A payload with places to fill in."""

    parts: tuple[_Part, ...]
    pad_to_bytes: int | None
    pad_with: int

    @classmethod
    def parse(cls, source: str, *, is_hex: bool, pad_to_bytes: int | None, pad_with: int, key: str) -> Self:
        """Raises ProfileMalformedError naming ``key``."""
        parts: list[_Part] = []
        end = 0
        for found in _FIELD.finditer(source):
            parts += [_fixed(source[end : found.start()], is_hex, key), _part(found, is_hex, key)]
            end = found.end()
        parts.append(_fixed(source[end:], is_hex, key))
        template = cls(
            parts=tuple(part for part in parts if part), pad_to_bytes=pad_to_bytes, pad_with=pad_with
        )
        if pad_to_bytes is not None and template._least_bytes() > pad_to_bytes:
            raise ProfileMalformedError(key, f"does not fit into {pad_to_bytes} bytes")
        return template

    @property
    def uses_password(self) -> bool:
        return any(isinstance(part, _Password) for part in self.parts)

    @property
    def uses_time(self) -> bool:
        return any(isinstance(part, _Now) for part in self.parts)

    def render(self, *, password: bytes, local_time: datetime) -> Payload:
        """``password`` is not looked at where the template has no place for one. Raises PasswordUnfitError."""
        data = bytearray()
        mask = bytearray()
        for part in self.parts:
            piece = self._piece(part, password, local_time)
            data += piece
            mask += (b"*" if isinstance(part, _Password) else b".") * len(piece)
        missing = max(0, (self.pad_to_bytes or 0) - len(data))
        if self.pad_to_bytes is not None and len(data) > self.pad_to_bytes:
            raise PasswordUnfitError("the password is too long for this family")
        return Payload(bytes(data) + bytes([self.pad_with]) * missing, bytes(mask) + b"." * missing)

    def _piece(self, part: _Part, password: bytes, local_time: datetime) -> bytes:
        if isinstance(part, bytes):
            return part
        if isinstance(part, _Now):
            return local_time.strftime(part.format).encode("ascii")
        if part.width is not None and len(password) > part.width:
            raise PasswordUnfitError(f"the password is longer than the {part.width} bytes this family has")
        return password.ljust(part.width or 0, bytes([self.pad_with]))

    def _least_bytes(self) -> int:
        example = datetime(2000, 1, 1)  # noqa: DTZ001 - only its length counts
        unfilled = (part for part in self.parts if not isinstance(part, _Password))
        widths = sum(part.width or 0 for part in self.parts if isinstance(part, _Password))
        return widths + sum(len(self._piece(part, b"", example)) for part in unfilled)


def _fixed(text: str, is_hex: bool, key: str) -> bytes:
    if not is_hex:
        return text.encode("ascii")
    if not _HEX.fullmatch(text):
        raise ProfileMalformedError(key, f"is not hexadecimal bytes: {text[:40]!r}")
    return bytes.fromhex(text)


def _part(found: re.Match[str], is_hex: bool, key: str) -> _Part:
    text = found[0]
    if text.startswith("{password"):
        return _Password(int(found["width"]) if found["width"] else None)
    if text.startswith("{now"):
        return _Now(found["format"])
    if text in ("{{", "}}") and not is_hex:
        return text[:1].encode("ascii")
    raise ProfileMalformedError(
        key, f"has a brace that opens no field known here: {found.string[found.start() :][:40]!r}"
    )


def shown_without(data: bytes, secret: bytes, limit: int) -> str:
    """The first ``limit`` bytes of what a device sent, in hexadecimal; where it repeats the secret, ``**``."""
    mask = bytearray(b"." * len(data))
    start = data.find(secret) if secret else -1
    while start >= 0:
        mask[start : start + len(secret)] = b"*" * len(secret)
        start = data.find(secret, start + 1)
    return Payload(data, bytes(mask)).shown(limit)
