"""Algorithm-tagged digests. SHA-256 over all bytes is the identity of an original; SM3 can stand beside it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final, Self

from protocol.errors import MalformedError, UnknownKindError

_HEX_LENGTH: Final = {"sha256": 64}
_HEX: Final = re.compile(r"[0-9a-f]+")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A digest (摘要) as algorithm and lower-case hex; text form ``sha256:<64 hex>``."""

    algorithm: str
    hex: str

    def __post_init__(self) -> None:
        length = _HEX_LENGTH.get(self.algorithm)
        if length is None:
            raise UnknownKindError(f"unknown digest algorithm {self.algorithm!r}")
        if len(self.hex) != length or not _HEX.fullmatch(self.hex):
            raise MalformedError(f"{self.algorithm} digest must be {length} lower-case hex digits")

    @classmethod
    def of(cls, data: bytes) -> Self:
        """SHA-256 of bytes held in memory."""
        return cls("sha256", hashlib.sha256(data).hexdigest())

    @classmethod
    def sha256(cls, hex_digits: str) -> Self:
        """From 64 hex digits. Raises MalformedError."""
        return cls("sha256", hex_digits)

    @classmethod
    def parse(cls, text: str) -> Self:
        """From ``algorithm:hex``. Raises MalformedError or UnknownKindError."""
        algorithm, colon, digits = text.partition(":")
        if not colon:
            raise MalformedError("a digest is written algorithm:hex")
        return cls(algorithm, digits)

    @property
    def raw(self) -> bytes:
        return bytes.fromhex(self.hex)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"
