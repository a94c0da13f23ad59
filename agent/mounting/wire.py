"""Requests to the mount helper and its answers: one line of strict JSON each, of bounded length; pure.

A request says which volume of which medium at which port, never which device, directory or option.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from agent.errors import AgentError
from agent.mounting.sysfs import PORT_PATH
from agent.usb.errors import (
    DeviceGoneError,
    MountBusyError,
    MounterAwayError,
    MountFailedError,
    MountRefusedError,
)
from agent.usb.ports import Mounted
from agent.volumes.errors import ErasureUnsureError, VolumeDirtyError, VolumeReadOnlyError

VERSION: Final = 1
MAX_LINE_BYTES: Final = 4096
"""A request has about 120 bytes, an answer with an error's sentence a few hundred."""

MAX_LUN: Final = 15
"""Bulk-only transport has four bits for it."""

MAX_PARTITION: Final = 255
_MAX_GENERATION_CHARS: Final = 64
_MAX_MESSAGE_CHARS: Final = 500

CROSSING: Final[Mapping[str, type[AgentError]]] = {
    kind.code: kind
    for kind in (
        DeviceGoneError,
        ErasureUnsureError,
        MountBusyError,
        MountFailedError,
        MountRefusedError,
        VolumeDirtyError,
        VolumeReadOnlyError,
    )
}
"""Errors that keep their kind across the socket."""


class Act(StrEnum):
    """What may be asked for; the three methods of ``Mounter``."""

    MOUNT_READ_ONLY = "mount-read-only"
    REMOUNT_FOR_RELEASE = "remount-for-release"
    UNMOUNT = "unmount"


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """Which volume is meant: place on the device, and the medium it was seen on."""

    lun: int
    partition: int
    generation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """``volume`` is None exactly for ``unmount``."""

    act: Act
    port_path: str
    volume: Volume | None


def encode_request(request: Request) -> bytes:
    fields: dict[str, object] = {"version": VERSION, "request": request.act, "port_path": request.port_path}
    if request.volume is not None:
        volume = request.volume
        fields |= {"lun": volume.lun, "partition": volume.partition, "generation": volume.generation}
    return _encode(fields)


def parse_request(line: bytes) -> Request:
    """Raises MountRefusedError for whatever is not exactly a request of this version."""
    fields = _parse(line, MountRefusedError)
    try:
        act = Act(_text(fields.pop("request"), 32))
        port_path = _text(fields.pop("port_path"), 32)
        if not PORT_PATH.fullmatch(port_path):
            raise ValueError("not a port path")
        volume = None if act is Act.UNMOUNT else _volume(fields)
    except (KeyError, TypeError, ValueError) as error:
        raise MountRefusedError(f"not a request: {error}") from error
    if fields:
        raise MountRefusedError("a request with members it does not have")
    return Request(act=act, port_path=port_path, volume=volume)


def encode_answer(mounted: Mounted | None) -> bytes:
    """None: it was unmounted."""
    if mounted is None:
        return _encode({"version": VERSION, "mounted": None})
    return _encode(
        {
            "version": VERSION,
            "mounted": {
                "directory": mounted.directory.decode("ascii"),
                "mount_id": mounted.mount_id,
                "fs_type": mounted.fs_type,
                "writable": mounted.writable,
            },
        }
    )


def encode_error(error: AgentError) -> bytes:
    message = str(error).encode("ascii", "backslashreplace").decode("ascii")[:_MAX_MESSAGE_CHARS]
    return _encode({"version": VERSION, "error": {"code": error.code, "message": message}})


def parse_answer(line: bytes) -> Mounted | None:
    """Raises the error the helper answered with, or MounterAwayError for what is no answer of this version."""
    fields = _parse(line, MounterAwayError)
    try:
        if "error" in fields:
            error = _members(fields["error"])
            kind = CROSSING.get(_text(error["code"], 64), MountFailedError)
            raise kind(_text(error["message"], MAX_LINE_BYTES))
        if fields["mounted"] is None:
            return None
        mounted = _members(fields["mounted"])
        writable = mounted["writable"]
        if not isinstance(writable, bool):
            raise TypeError("not a truth value")
        return Mounted(
            directory=_text(mounted["directory"], MAX_LINE_BYTES).encode("ascii"),
            mount_id=_whole(mounted["mount_id"], 2**63),
            fs_type=_text(mounted["fs_type"], 32),
            writable=writable,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise MounterAwayError(f"the mounter answered something else: {error}") from error


def _volume(fields: dict[str, object]) -> Volume:
    return Volume(
        lun=_whole(fields.pop("lun"), MAX_LUN),
        partition=_whole(fields.pop("partition"), MAX_PARTITION),
        generation=_text(fields.pop("generation"), _MAX_GENERATION_CHARS),
    )


def _encode(fields: Mapping[str, object]) -> bytes:
    return json.dumps(fields, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n"


def _parse(line: bytes, refusal: type[AgentError]) -> dict[str, object]:
    """The members of a whole line of this version, without the version."""
    if len(line) > MAX_LINE_BYTES or not line.endswith(b"\n"):
        raise refusal(f"not a line of at most {MAX_LINE_BYTES} bytes")
    try:
        fields = _members(json.loads(line.decode("ascii"), object_pairs_hook=_once))
        version = _whole(fields.pop("version"), 2**31)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise refusal(f"not a message: {error}"[:_MAX_MESSAGE_CHARS]) from error
    if version != VERSION:
        raise refusal(f"a message of version {version}, here is {VERSION}")
    return fields


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a member twice")
    return fields


def _members(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value


def _text(value: object, most_chars: int) -> str:
    if not isinstance(value, str) or len(value) > most_chars:
        raise TypeError(f"not a text of at most {most_chars} characters")
    return value


def _whole(value: object, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise TypeError(f"not a number from 0 to {most}")
    return value
