"""What is known of bytes while they pass: their SHA-256, which is what they are called, and their XXH3-128, by which a
re-read from the disk is compared with them.

Two hashes, because the second look asks less: did the disk keep what was handed to it? XXH3-128 finds every such
accident at a twenty-fifth of the cost (measured). It is never written down, sent or believed of somebody else's bytes.
"""

from __future__ import annotations

import hashlib
from typing import Self

import xxhash

from collector.files import Block
from protocol.digest import Digest


class RunningDigest:
    """Both hashes of the same bytes."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._xxh3 = xxhash.xxh3_128()

    def update(self, block: Block) -> None:
        """Lets the next bytes pass."""
        self._sha256.update(block)
        self._xxh3.update(block)

    def copy(self) -> Self:
        """The same bytes so far, going its own way from here."""
        other = type(self)()
        other._sha256, other._xxh3 = self._sha256.copy(), self._xxh3.copy()
        return other

    @property
    def digest(self) -> Digest:
        """SHA-256 of the bytes so far."""
        return Digest.sha256(self._sha256.hexdigest())

    @property
    def passed(self) -> bytes:
        """XXH3-128 of the bytes so far."""
        return self._xxh3.digest()
