"""The station's ``Mounter``: asks the mount helper, one connection for each request. Blocking, without privileges."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Final

from agent.mounting.settings import SOCKET_PATH
from agent.mounting.wire import MAX_LINE_BYTES, Act, Request, Volume, encode_request, parse_answer
from agent.usb.errors import MounterAwayError
from agent.usb.ports import Mounted, VolumeSeen

_ANSWER_S: Final = 150.0
"""Longer than the helper itself waits: first for its turn at the port, then for the device."""


class SocketMounter:
    """A ``Mounter`` over the helper's socket."""

    def __init__(self, path: Path = SOCKET_PATH, *, answer_s: float = _ANSWER_S) -> None:
        self._path = path
        self._answer_s = answer_s

    def mount_read_only(self, volume: VolumeSeen) -> Mounted:
        """See ``Mounter``."""
        return _there(self._ask(_about(Act.MOUNT_READ_ONLY, volume)))

    def remount_for_release(self, volume: VolumeSeen) -> Mounted:
        """See ``Mounter``."""
        return _there(self._ask(_about(Act.REMOUNT_FOR_RELEASE, volume)))

    def unmount(self, port_path: str) -> None:
        """See ``Mounter``."""
        self._ask(Request(act=Act.UNMOUNT, port_path=port_path, volume=None))

    def _ask(self, request: Request) -> Mounted | None:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
                line.settimeout(self._answer_s)
                line.connect(str(self._path))
                line.sendall(encode_request(request))
                with line.makefile("rb") as answers:
                    answer = answers.readline(MAX_LINE_BYTES + 1)
        except OSError as error:
            raise MounterAwayError(f"no answer from {self._path}: {error}") from error
        return parse_answer(answer)


def _about(act: Act, volume: VolumeSeen) -> Request:
    meant = Volume(lun=volume.lun, partition=volume.partition, generation=volume.generation)
    return Request(act=act, port_path=volume.port_path, volume=meant)


def _there(mounted: Mounted | None) -> Mounted:
    if mounted is None:
        raise MounterAwayError("the mounter says that it mounted nothing")
    return mounted
