"""Named limits of the media room, each with its reason, and the budget a single child process gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MIB: Final = 1024 * 1024

MAX_PIXELS: Final = 2**27
"""Pixels of one picture (134 million): above any recorder and nearly any phone; a decoder needs 4 bytes for each."""

MAX_SIDE: Final = 65_500
"""Longest side of a picture: the most a baseline JPEG can say."""

MAX_STREAMS: Final = 32
"""Streams of one file: recorders write one to six, a hostile file could list thousands."""

MAX_DURATION_S: Final = 7 * 24 * 3600.0
"""Duration of one file: no recorder runs a week; longer claims come from damaged headers."""

MAX_TEXT_CHARS: Final = 64
"""Any text taken from a file (codec, maker, model, serial number)."""

MAX_PROBE_OUTPUT_BYTES: Final = 256 * 1024
"""What ffprobe may print: 32 streams with every field we ask for are under 64 KiB."""

MAX_MESSAGE_BYTES: Final = 8 * 1024
"""Tail of a child's standard error that is kept: the last lines say why it failed."""

PHOTO_HEAD_BYTES: Final = MIB
"""Head of a photograph that is read for its facts: EXIF is in the first 64 KiB, colour profiles may stand before."""

MAX_EXIF_BYTES: Final = 65_536
"""One EXIF block: a JPEG segment cannot hold more."""

MAX_EXIF_READS: Final = 20_000
"""Reads the EXIF parser may do: real cameras need some hundreds, overlapping tags could need millions."""

MAX_EXIF_READ_BYTES: Final = 2 * MIB
"""Bytes the EXIF parser may read in sum, for the same reason."""

OPEN_FILES: Final = 64
"""Open files of a child: ffmpeg needs under 20."""

THREADS: Final = 2
"""Decoder and encoder threads: two cores are what the smallest station has, and bays come first."""

PROBE_MEMORY_BYTES: Final = 1024 * MIB
"""Address space of ffprobe: its libraries map 300 MiB, the index of a long clip takes tens more."""

RENDER_MEMORY_BYTES: Final = 3072 * MIB
"""Address space of ffmpeg: decoding 4K and encoding 1080p needs 1.5 GiB of it, most never touched."""

PROBE_DEADLINE_S: Final = 60.0
"""ffprobe takes 0.1 s; a minute covers a station whose disks are busy with offload."""

PROBE_CPU_S: Final = 20
"""CPU time of ffprobe, for files made to keep it busy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What one child process may use. The deadline is wall-clock time, ``cpu_s`` time of all its threads."""

    deadline_s: float
    cpu_s: int
    memory_bytes: int
    file_size_bytes: int


PROBE_BUDGET: Final = Budget(
    deadline_s=PROBE_DEADLINE_S, cpu_s=PROBE_CPU_S, memory_bytes=PROBE_MEMORY_BYTES, file_size_bytes=0
)

STILL_BUDGET: Final = Budget(
    deadline_s=120.0, cpu_s=60, memory_bytes=RENDER_MEMORY_BYTES, file_size_bytes=16 * MIB
)
"""A poster or thumbnail costs 0.2 s and 100 KB; a photograph of the largest allowed size some seconds."""


def playable_budget(*, duration_s: float | None, original_size_bytes: int) -> Budget:
    """Budget of a playable copy.

    Transcoding costs about 1.5 CPU seconds per second of 1080p, so 30 leaves room for 4K on a slow processor. It runs
    at idle priority, so its deadline is four times that. H.264 of an H.265 original may be larger than it, not by 8.
    """
    cpu_s = 600 + round(30 * (duration_s or 3600.0))
    return Budget(
        deadline_s=4.0 * cpu_s,
        cpu_s=cpu_s,
        memory_bytes=RENDER_MEMORY_BYTES,
        file_size_bytes=64 * MIB + 8 * original_size_bytes,
    )
