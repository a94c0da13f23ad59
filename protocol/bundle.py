"""Bundles (合包): many small files in one upload, as POSIX ustar in a single byte form; nothing here does I/O.

Members are regular files named ``<purpose>/<sha256 hex>``; everything else in a header is fixed, so a list of members
determines every byte that is not theirs. ``tar`` reads a bundle, and GNU tar can write one. ``BundleLayout`` serves
who sends, from any byte on; ``BundleParser`` serves who receives and believes no name before it has hashed the bytes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Final, Self

from protocol.digest import Digest
from protocol.limits import MAX_BUNDLE_BYTES
from protocol.upload import Purpose
from protocol.upload_errors import BundleMalformedError

if TYPE_CHECKING:
    from hashlib import _Hash

MAX_MEMBERS: Final = 1024
"""Files of one bundle; with the smallest ones the receiver's work for each counts, not their bytes."""

MAX_MEMBER_BYTES: Final = 8 << 20
"""Larger files fill a request of their own well enough."""

BLOCK_BYTES: Final = 512
"""ustar's record: a header is one, and every member's bytes are filled up to a whole number of them with zeros."""

END: Final = bytes(2 * BLOCK_BYTES)
"""What a bundle ends with, and nothing after it."""

BUNDLED: Final = frozenset({Purpose.ORIGINAL, Purpose.RENDITION, Purpose.LISTING})
"""What may travel in a bundle: everything but a bundle."""

_ZEROS: Final = bytes(BLOCK_BYTES)
_NAME: Final = re.compile(rb"(original|rendition|listing)/([0-9a-f]{64})\0*")
_SIZE: Final = re.compile(rb"[0-7]{11}\0")
_NAME_FIELD: Final = slice(0, 100)
_SIZE_FIELD: Final = slice(124, 136)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One file of a bundle (合包成员). Raises BundleMalformedError for a purpose or size no bundle carries."""

    purpose: Purpose
    digest: Digest
    size_bytes: int

    def __post_init__(self) -> None:
        if self.purpose not in BUNDLED:
            raise BundleMalformedError(f"a bundle cannot carry a {self.purpose}")
        if not 0 <= self.size_bytes <= MAX_MEMBER_BYTES:
            raise BundleMalformedError(f"a member of a bundle has at most {MAX_MEMBER_BYTES} bytes")

    @property
    def name(self) -> str:
        return f"{self.purpose.value}/{self.digest.hex}"

    @property
    def span_bytes(self) -> int:
        """Header, bytes and padding."""
        return BLOCK_BYTES + self.size_bytes + _padding_of(self.size_bytes)

    @classmethod
    def from_header(cls, header: bytes) -> Self:
        """Raises BundleMalformedError unless this is exactly the header ``to_header`` makes of some member."""
        name, size = _NAME.fullmatch(header[_NAME_FIELD]), header[_SIZE_FIELD]
        if name is None or not _SIZE.fullmatch(size):
            raise BundleMalformedError("a member's header has no name or no size a bundle can have")
        purpose, digest = Purpose(name[1].decode()), Digest.sha256(name[2].decode())
        member = cls(purpose=purpose, digest=digest, size_bytes=int(size[:-1], 8))
        if member.to_header() != header:
            raise BundleMalformedError(f"the header of {member.name} is not in the one form a bundle has")
        return member

    def to_header(self) -> bytes:
        """512 bytes: mode 0440, owner, group and time 0, no link, no owner's name, as ``tar --format=ustar``."""
        before = self.name.encode().ljust(100, b"\0") + b"0000440\0" + b"0000000\0" * 2
        before += b"%011o\0" % self.size_bytes + b"0" * 11 + b"\0"
        after = b"0" + bytes(100) + b"ustar\0" + b"00" + bytes(64) + b"0000000\0" * 2 + bytes(167)
        checksum = sum(before) + 8 * ord(" ") + sum(after)
        return before + b"%06o\0 " % checksum + after


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Bytes ``[start, end)`` of member number ``member``, which the sender reads from where it has them."""

    member: int
    start: int
    end: int


class BundleLayout:
    """Where everything lies in the bundle of these members, in this order. Raises BundleMalformedError for a list
    that is no bundle: empty, too long or too large, or with a member twice."""

    def __init__(self, members: Sequence[Member]) -> None:
        if not members:
            raise BundleMalformedError("a bundle has at least one member")
        _check_members(members)
        self.members = tuple(members)
        *self._starts, end = accumulate((member.span_bytes for member in members), initial=0)
        self.size_bytes = end + len(END)
        if self.size_bytes > MAX_BUNDLE_BYTES:
            raise BundleMalformedError(f"a bundle has at most {MAX_BUNDLE_BYTES} bytes")

    def pieces(self, offset_bytes: int = 0) -> Iterator[bytes | Span]:
        """The bundle from a byte on: its own bytes as they are, and spans of members' bytes."""
        for number, (member, start) in enumerate(zip(self.members, self._starts, strict=True)):
            if offset_bytes < start + member.span_bytes:
                yield from _member_pieces(member, number, max(0, offset_bytes - start))
        if rest := END[max(0, offset_bytes - self.size_bytes + len(END)) :]:
            yield rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Some bytes of a member; ``ends`` with the last ones, and then all of them together have its digest. A member
    without bytes has one empty piece. ``data`` is a view of the block fed, valid until the next is."""

    member: Member
    data: memoryview
    starts: bool
    ends: bool


class BundleParser:
    """Reads a bundle as it comes in. Members listed ``taken`` were read before, whole and verified: the stream goes
    on behind them. After a BundleMalformedError the parser is of no more use."""

    def __init__(self, taken: Iterable[Member] = ()) -> None:
        self._members = list(taken)
        _check_members(self._members)
        self._names = {member.name for member in self._members}
        self._whole = len(self._members)
        self._boundary = self._position = sum(member.span_bytes for member in self._members)
        self._own = bytearray()  # the header or the end while it comes in
        self._left = 0
        self._padding = 0
        self._hasher: _Hash = hashlib.sha256()
        self._complete = False

    @property
    def members(self) -> tuple[Member, ...]:
        """Those that are here whole, padding included, and have their digest."""
        return tuple(self._members[: self._whole])

    @property
    def position_bytes(self) -> int:
        """How much of the stream was read."""
        return self._position

    @property
    def boundary_bytes(self) -> int:
        """How far the stream can be kept without keeping part of a member: the end of the last whole one."""
        return self._boundary

    @property
    def is_complete(self) -> bool:
        """Whether the end of the bundle was read."""
        return self._complete

    def feed(self, block: memoryview) -> Iterator[Piece]:
        """The members' bytes in ``block``; it must be iterated to its end. Raises BundleMalformedError."""
        while block:
            if self._complete:
                raise BundleMalformedError("a bundle has bytes after its end")
            if self._left:
                piece = self._data(block[: self._left])
                block = block[len(piece.data) :]
                yield piece
            elif self._padding:
                block = self._skip_padding(block)
            else:
                want = BLOCK_BYTES - len(self._own) % BLOCK_BYTES
                self._own += block[:want]
                self._advance(len(block[:want]))
                block = block[want:]
                if len(self._own) % BLOCK_BYTES == 0:
                    yield from self._record()

    def _record(self) -> Iterator[Piece]:
        """A whole record that is not members' bytes: a header, or half of the end."""
        if self._own == END:
            self._end()
        elif self._own != _ZEROS:
            member = Member.from_header(bytes(self._own))
            self._own.clear()
            self._begin(member)
            if not member.size_bytes:
                yield self._data(memoryview(b""))

    def _begin(self, member: Member) -> None:
        if len(self._members) == MAX_MEMBERS:
            raise BundleMalformedError(f"a bundle has at most {MAX_MEMBERS} members")
        if member.name in self._names:
            raise BundleMalformedError(f"{member.name} stands twice in a bundle")
        self._members.append(member)
        self._names.add(member.name)
        self._hasher = hashlib.sha256()
        self._left, self._padding = member.size_bytes, _padding_of(member.size_bytes)

    def _data(self, data: memoryview) -> Piece:
        member = self._members[-1]
        starts = self._left == member.size_bytes
        self._hasher.update(data)
        self._left -= len(data)
        self._advance(len(data))
        if not self._left:
            self._verify(member)
            self._note_whole()
        return Piece(member=member, data=data, starts=starts, ends=not self._left)

    def _verify(self, member: Member) -> None:
        if self._hasher.hexdigest() != member.digest.hex:
            raise BundleMalformedError(f"the bytes of {member.name} do not have the digest in its name")

    def _note_whole(self) -> None:
        if not self._padding:
            self._whole, self._boundary = len(self._members), self._position

    def _skip_padding(self, block: memoryview) -> memoryview:
        padding = block[: self._padding]
        if padding != _ZEROS[: len(padding)]:
            raise BundleMalformedError("a member of a bundle is filled up with something else than zeros")
        self._padding -= len(padding)
        self._advance(len(padding))
        self._note_whole()
        return block[len(padding) :]

    def _end(self) -> None:
        if not self._members:
            raise BundleMalformedError("a bundle has at least one member")
        self._complete = True

    def _advance(self, size_bytes: int) -> None:
        self._position += size_bytes
        if self._position > MAX_BUNDLE_BYTES:
            raise BundleMalformedError(f"a bundle has at most {MAX_BUNDLE_BYTES} bytes")


def _padding_of(size_bytes: int) -> int:
    return -size_bytes % BLOCK_BYTES


def _member_pieces(member: Member, number: int, skipped: int) -> Iterator[bytes | Span]:
    if skipped < BLOCK_BYTES:
        yield member.to_header()[skipped:]
    start = max(0, skipped - BLOCK_BYTES)
    if start < member.size_bytes:
        yield Span(member=number, start=start, end=member.size_bytes)
    if padding := _padding_of(member.size_bytes) - max(0, start - member.size_bytes):
        yield bytes(padding)


def _check_members(members: Sequence[Member]) -> None:
    if len(members) > MAX_MEMBERS:
        raise BundleMalformedError(f"a bundle has at most {MAX_MEMBERS} members")
    if len({(member.purpose, member.digest) for member in members}) < len(members):
        raise BundleMalformedError("a member stands twice in a bundle")
