"""Checks that a rendition is what was planned, from its own bytes. Raises RenditionFailedError when it is not.

ffmpeg's exit status is not evidence: it ends with 0 on inputs it could read only in part.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

from agent.errors import MediaUnreadableError, RenditionFailedError, RenditionShortError
from agent.media.facts import MediaFacts, StreamFacts
from agent.media.picture import jpeg_segments, read_picture_header
from agent.media.plan import AudioTrack, RenditionPlan, Still, VideoTrack

DURATION_SLACK_S: Final = 2.0
DURATION_SLACK_SHARE: Final = 0.02
"""Copying rounds to whole frames and cuts at edit lists; more than 2 s and 2 % is a loss."""

_MAX_ATOMS: Final = 1000
_APP0: Final = 0xE0
_APPLICATION_SEGMENTS: Final = range(_APP0 + 1, _APP0 + 16)


def verify_playable(plan: RenditionPlan, facts: MediaFacts) -> None:
    """The planned streams are there, in the planned codecs and size, and nothing else; the length is right."""
    expected = (plan.video is not None) + (plan.audio is not None)
    if len(facts.streams) != expected:
        raise RenditionFailedError(f"the rendition has {len(facts.streams)} streams instead of {expected}")
    if plan.video is not None:
        _verify_video(plan.video, facts.first("video"))
    if plan.audio is not None:
        _verify_audio(plan.audio, facts.first("audio"))
    _verify_duration(plan.duration_s, facts.duration_s)


def verify_faststart(file: BinaryIO) -> None:
    """The index (`moov`) stands before the data (`mdat`), so that a browser can start at once."""
    atoms = list(mp4_atoms(file))
    if b"moov" not in atoms or b"mdat" not in atoms or atoms.index(b"moov") > atoms.index(b"mdat"):
        raise RenditionFailedError("the rendition's index does not stand before its data")


def verify_still(still: Still, data: bytes) -> None:
    """A whole JPEG of the planned size, without EXIF or any other application data."""
    try:
        header = read_picture_header(data)
    except MediaUnreadableError as error:
        raise RenditionFailedError("the still is not a picture") from error
    if header.size != still.size or not data.endswith(b"\xff\xd9"):
        raise RenditionFailedError(
            f"the still is not a whole picture of {still.size.width}x{still.size.height}"
        )
    if any(marker in _APPLICATION_SEGMENTS for marker, _payload in jpeg_segments(data)):
        raise RenditionFailedError("the still carries metadata")


def mp4_atoms(file: BinaryIO) -> Iterator[bytes]:
    """Types of the top-level boxes in order (ISO/IEC 14496-12 §4.2). Raises RenditionFailedError on a broken size."""
    end = file.seek(0, 2)
    at = 0
    for _ in range(_MAX_ATOMS):
        if at == end:
            return
        file.seek(at)
        head = file.read(16)
        size, smallest = int.from_bytes(head[:4], "big"), 8
        if size == 1:
            size, smallest = int.from_bytes(head[8:16], "big"), 16
        elif size == 0:
            size = end - at
        if size < smallest or at + size > end:
            raise RenditionFailedError(f"the box at byte {at} has an impossible size")
        yield head[4:8]
        at += size
    raise RenditionFailedError(f"the file has more than {_MAX_ATOMS} boxes")


def _verify_video(track: VideoTrack, stream: StreamFacts | None) -> None:
    if stream is None or stream.codec != "h264":
        raise RenditionFailedError("the rendition has no H.264 video")
    if track.codec == "copy":
        if stream.rotation_deg != track.rotation_deg:
            raise RenditionFailedError("the rendition has lost the original's rotation")
    elif (stream.width, stream.height, stream.rotation_deg) != (track.size.width, track.size.height, 0):
        raise RenditionFailedError(f"the video is not upright in {track.size.width}x{track.size.height}")


def _verify_audio(track: AudioTrack, stream: StreamFacts | None) -> None:
    allowed = ("aac",) if track.codec == "aac" else ("aac", "mp3")
    if stream is None or stream.codec not in allowed:
        raise RenditionFailedError("the rendition has no playable audio")


def _verify_duration(expected_s: float | None, found_s: float | None) -> None:
    if expected_s is None:
        return
    if found_s is None:
        raise RenditionFailedError("the rendition does not say how long it is")
    slack_s = max(DURATION_SLACK_S, DURATION_SLACK_SHARE * expected_s)
    if found_s < expected_s - slack_s:
        raise RenditionShortError(
            f"the rendition lasts {found_s:.1f} s, the original claims {expected_s:.1f} s"
        )
    if found_s > expected_s + slack_s:
        raise RenditionFailedError(
            f"the rendition lasts {found_s:.1f} s, the original only {expected_s:.1f} s"
        )
