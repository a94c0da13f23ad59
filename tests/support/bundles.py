"""Bundles as an honest sender makes them."""

from __future__ import annotations

from collections.abc import Sequence

from protocol.bundle import BundleLayout, Member
from protocol.digest import Digest
from protocol.upload import Purpose

File = tuple[Purpose, bytes]


def member_of(file: File) -> Member:
    purpose, data = file
    return Member(purpose=purpose, digest=Digest.of(data), size_bytes=len(data))


def layout_of(files: Sequence[File]) -> BundleLayout:
    return BundleLayout([member_of(file) for file in files])


def bundle_of(files: Sequence[File], offset_bytes: int = 0) -> bytes:
    """What a sender who follows the layout writes from a byte on."""
    pieces = layout_of(files).pieces(offset_bytes)
    return b"".join(
        piece if isinstance(piece, bytes) else files[piece.member][1][piece.start : piece.end]
        for piece in pieces
    )
