"""Asks ffprobe, in the sandbox, what a file is.

Two lists guard against a file that points elsewhere: ``-protocol_whitelist`` keeps ffprobe from opening anything but
files, ``-format_whitelist`` from taking the file for a playlist at all. The sandbox holds even if both fail.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from agent.errors import MediaFormatRefusedError, MediaUnreadableError
from agent.media.facts import TAG_KEYS, MediaFacts, parse_ffprobe
from agent.media.limits import MAX_PIXELS, PROBE_BUDGET
from agent.media.sandbox import Sandbox, inside_name
from agent.media.text import last_lines

FORMATS: Final = "mov,avi,mpegts,mpeg,matroska,asf,wav,aac,mp3,amr,flac,ogg"
"""Demuxers for what recorders, phones and surveillance exports write; none of them opens a second file."""

_ENTRIES: Final = ":".join(
    (
        "stream=codec_type,codec_name,profile,duration,pix_fmt,width,height,avg_frame_rate,sample_rate,channels",
        "stream_disposition=attached_pic",
        "stream_side_data=rotation",
        "format=format_name,duration",
        "format_tags=" + ",".join(TAG_KEYS),
    )
)


def probe_command(original: Path) -> list[str]:
    """ffprobe's arguments for an original, by the name it has inside the sandbox."""
    return [
        *("ffprobe", "-hide_banner", "-loglevel", "error"),
        *("-protocol_whitelist", "file", "-format_whitelist", FORMATS, "-max_pixels", str(MAX_PIXELS)),
        *("-print_format", "json=compact=1", "-show_entries", _ENTRIES, inside_name(original)),
    ]


async def probe(sandbox: Sandbox, original: Path) -> MediaFacts:
    """Facts about a recording. Raises a MediaError; MediaUnreadableError when it is not one."""
    outcome = await sandbox.run(probe_command(original), budget=PROBE_BUDGET, input_path=original)
    if b"Format not on whitelist" in outcome.message:
        raise MediaFormatRefusedError("the file is not of a recording format, whatever its name says")
    if outcome.exit_status != 0:
        raise MediaUnreadableError(f"not readable as media: {last_lines(outcome.message)}")
    return parse_ffprobe(outcome.output)
