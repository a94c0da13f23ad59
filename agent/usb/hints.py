"""udev's events, handed over to the event loop as hints: "look at this port".

A hint is never more than a reason to look. The kernel drops events when nobody takes them in time, and udevd may not
run at all; whoever listens looks again from time to time all the same.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pyudev

from agent.usb.sighting import port_of

_log = logging.getLogger(__name__)

MAX_PENDING: Final = 1024
"""Ports with a hint not yet taken: more than a machine has. What is beyond is found by the next rescan."""

MAX_EVENTS_AT_ONCE: Final = 64
"""Taken from the socket before other tasks of the loop get their turn; a hub that chatters may not hold them up."""


@asynccontextmanager
async def port_hints(context: pyudev.Context) -> AsyncIterator[AsyncIterator[str]]:
    """Listens from entering to leaving; nothing that happens in between is missed for having come too early."""
    monitor = pyudev.Monitor.from_netlink(context)
    for subsystem, kind in (("usb", "usb_device"), ("block", None)):
        monitor.filter_by(subsystem, kind)
    monitor.start()
    hints = _Pending(monitor)
    loop = asyncio.get_running_loop()
    loop.add_reader(monitor.fileno(), hints.take)
    try:
        yield hints
    finally:
        loop.remove_reader(monitor.fileno())


class _Pending(AsyncIterator[str]):
    """Ports with something new, each once, oldest first."""

    def __init__(self, monitor: pyudev.Monitor) -> None:
        self._monitor = monitor
        self._ports: dict[str, None] = {}
        self._filled = asyncio.Event()

    def take(self) -> None:
        """Called by the loop when the socket has something."""
        try:
            for _ in range(MAX_EVENTS_AT_ONCE):
                device = self._monitor.poll(timeout=0)
                if device is None:
                    return
                self._note(device.device_path)
        except OSError as error:  # the socket's buffer ran over
            _log.warning("usb.hints_lost", extra={"error": str(error)})

    def _note(self, device_path: str) -> None:
        port = port_of(device_path)
        if port is not None and len(self._ports) < MAX_PENDING:
            self._ports[port] = None
            self._filled.set()

    async def __anext__(self) -> str:
        while not self._ports:
            self._filled.clear()
            await self._filled.wait()
        port = next(iter(self._ports))
        del self._ports[port]
        return port
