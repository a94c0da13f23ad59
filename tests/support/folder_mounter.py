"""The mount helper's socket where nothing can be mounted: whoever asks for a port's volume is given a folder.

The agent's own client speaks to it as to the real helper, which is tested by itself in the guest. What a folder cannot
be is read-only; ``writable`` says what it should be.
"""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from agent.mounting.wire import MAX_LINE_BYTES, Act, Request, encode_answer, encode_error, parse_request
from agent.usb.errors import DeviceGoneError
from agent.usb.ports import Mounted

_BACKLOG: Final = 64


class FolderMounter:
    """``cards`` are the folders of what is plugged in, by port path; they may come and go."""

    def __init__(self, path: Path) -> None:
        self.cards: dict[str, Path] = {}
        self._numbers = itertools.count(1)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(_BACKLOG)
        self._thread = threading.Thread(target=self._serve, name="folder mounter")

    @contextmanager
    def at_work(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            with line, suppress(OSError), line.makefile("rb") as asked:
                line.sendall(self._answer(asked.readline(MAX_LINE_BYTES)))

    def _answer(self, line: bytes) -> bytes:
        try:
            return encode_answer(self._do(parse_request(line)))
        except DeviceGoneError as error:
            return encode_error(error)

    def _do(self, request: Request) -> Mounted | None:
        if request.act is Act.UNMOUNT:
            return None
        folder = self.cards.get(request.port_path)
        if folder is None:
            raise DeviceGoneError(f"nothing at port {request.port_path}")
        return Mounted(
            directory=bytes(folder),
            mount_id=next(self._numbers),
            fs_type="vfat",
            writable=request.act is not Act.MOUNT_READ_ONLY,
        )
