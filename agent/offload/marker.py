"""Reads the file by which a recorder names itself, where its family has one. Blocking code for threads."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from agent.ports import FileReader, RecorderVolume
from agent.volumes.errors import FileUnreadableError, PathUnsafeError
from firmware_profiles.identity import IdentityClaims
from firmware_profiles.names import MAX_MARKER_BYTES, claims_from_marker
from firmware_profiles.schema import Profile
from protocol.listing import display_path

_LOG: Final = logging.getLogger(__name__)


def read_marker(volume: RecorderVolume, profile: Profile, raw_paths: Iterable[bytes]) -> IdentityClaims:
    """What the marker file says, nothing where there is none or it cannot be read. At most ``MAX_MARKER_BYTES`` of it
    are read. Raises VolumeVanishedError."""
    marker = profile.identity.marker
    if marker is None:
        return IdentityClaims()
    raw_path = next((path for path in raw_paths if marker.is_at(display_path(path))), None)
    if raw_path is None:
        return IdentityClaims()
    try:
        with volume.open_file(raw_path) as file:
            return claims_from_marker(profile, _beginning(file))
    except (FileUnreadableError, PathUnsafeError) as error:
        _LOG.warning("marker file unreadable", extra={"profile": profile.id, "code": error.code})
        return IdentityClaims()


def _beginning(file: FileReader) -> bytes:
    buffer = memoryview(bytearray(MAX_MARKER_BYTES))
    filled = 0
    while filled < len(buffer) and (read := file.readinto(buffer[filled:])):
        filled += read
    return bytes(buffer[:filled])
