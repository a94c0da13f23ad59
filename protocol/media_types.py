"""What kind of media a file is, told by its first bytes and, where these say nothing, by its name.

A guess for choosing how to look closer, never a fact about the file: the name is the recorder's, the bytes may lie.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

HEAD_BYTES: Final = 1024
"""How much of a file ``media_type_of`` wants to see: five transport stream packets."""

UNKNOWN: Final = "application/octet-stream"

_BY_SUFFIX: Final = {
    "mp4": "video/mp4", "m4v": "video/mp4", "mov": "video/quicktime", "avi": "video/x-msvideo",
    "3gp": "video/3gpp", "ts": "video/mp2t", "mts": "video/mp2t", "m2ts": "video/mp2t", "mpg": "video/mpeg",
    "mpeg": "video/mpeg", "mkv": "video/x-matroska", "webm": "video/webm", "asf": "video/x-ms-asf",
    "wmv": "video/x-ms-asf", "jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png", "gif": "image/gif",
    "webp": "image/webp", "heic": "image/heic", "heif": "image/heic", "wav": "audio/wav", "m4a": "audio/mp4",
    "mp3": "audio/mpeg", "aac": "audio/aac", "amr": "audio/amr", "flac": "audio/flac", "ogg": "audio/ogg",
    "opus": "audio/ogg", "txt": "text/plain", "log": "text/plain",
}  # fmt: skip

_PREFIXES: Final = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"\x00\x00\x01\xba", "video/mpeg"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "video/x-ms-asf"),
    (b"#!AMR", "audio/amr"),
    (b"fLaC", "audio/flac"),
    (b"OggS", "audio/ogg"),
    (b"ID3", "audio/mpeg"),
)

_BRANDS: Final = {
    b"qt  ": "video/quicktime", b"M4A ": "audio/mp4", b"M4B ": "audio/mp4",
    b"heic": "image/heic", b"heix": "image/heic", b"mif1": "image/heic", b"msf1": "image/heic",
    b"avif": "image/avif", b"3gp4": "video/3gpp", b"3gp5": "video/3gpp", b"3gp6": "video/3gpp",
}  # fmt: skip

_RIFF_FORMS: Final = {b"AVI ": "video/x-msvideo", b"WAVE": "audio/wav", b"WEBP": "image/webp"}

_QUICKTIME_ATOMS: Final = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})


def media_type_of(name: str, head: bytes) -> str:
    """Media type (MIME) by magic, else by suffix, else ``application/octet-stream``. Never raises.

    ``head`` is the start of the file, ``HEAD_BYTES`` of it or all there is.
    """
    for recognise in _RECOGNISERS:
        if found := recognise(head):
            return found
    return _BY_SUFFIX.get(_suffix(name), UNKNOWN)


def _suffix(name: str) -> str:
    _stem, dot, suffix = name.rpartition(".")
    return suffix.lower() if dot else ""


def _by_prefix(head: bytes) -> str | None:
    return next((media_type for prefix, media_type in _PREFIXES if head.startswith(prefix)), None)


def _by_box(head: bytes) -> str | None:
    """ISO base media (ISO/IEC 14496-12, `ftyp` first) and QuickTime from before `ftyp` existed."""
    if head[4:8] == b"ftyp" and len(head) >= 12:
        return _BRANDS.get(head[8:12], "video/mp4")
    return "video/quicktime" if head[4:8] in _QUICKTIME_ATOMS else None


def _by_riff(head: bytes) -> str | None:
    return _RIFF_FORMS.get(head[8:12]) if head.startswith(b"RIFF") else None


def _by_ebml(head: bytes) -> str | None:
    if not head.startswith(b"\x1a\x45\xdf\xa3"):
        return None
    return "video/webm" if b"webm" in head[:64] else "video/x-matroska"


def _by_packets(head: bytes) -> str | None:
    """Transport streams have no magic, only a sync byte per packet: plain (188 bytes) or with a time code (192)."""
    for offset, stride in ((0, 188), (4, 192)):
        if len(head) > offset + 2 * stride and all(head[i] == 0x47 for i in range(offset, len(head), stride)):
            return "video/mp2t"
    return None


def _by_audio_frame(head: bytes) -> str | None:
    """Bare audio frames: ADTS has layer bits 00 (ISO/IEC 13818-7), MPEG audio has not (ISO/IEC 11172-3)."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    if head[1] & 0xF6 == 0xF0:
        return "audio/aac"
    has_layer, bitrate, rate = head[1] & 0x06, head[2] >> 4, head[2] >> 2 & 0x03
    return "audio/mpeg" if has_layer and bitrate != 0x0F and rate != 0x03 else None


_RECOGNISERS: Final[tuple[Callable[[bytes], str | None], ...]] = (
    _by_prefix,
    _by_box,
    _by_riff,
    _by_ebml,
    _by_packets,
    _by_audio_frame,
)
