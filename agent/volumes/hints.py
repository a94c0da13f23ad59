"""watchdog's callbacks, handed over to the event loop as hints: "look at this bay", "the folder itself is gone".

A hint is never more than a reason to look: inotify loses events under load and knows nothing of mounts. Watches are
not recursive. A recursive one would let watchdog walk the recorder's tree, whatever its depth, before it was checked.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import Final

from watchdog.events import (
    EVENT_TYPE_DELETED,
    EVENT_TYPE_MOVED,
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch

_log = logging.getLogger(__name__)

MAX_PENDING: Final = 1024
"""Bays with a hint not yet taken over: more than any station has. What is beyond is found by the next rescan."""

_EVENTS: Final[list[type[FileSystemEvent]]] = [
    # Not "opened": our own reading would wake us.
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
]

HintTaker = Callable[[bytes, bool], None]
"""Takes a name in the base folder (empty: the base itself) and whether that folder was removed or renamed."""


class Hints(FileSystemEventHandler):
    """Watches a base folder and, while asked to, folders directly in it. Created and used in the event loop."""

    def __init__(self, base: bytes, take: HintTaker) -> None:
        self._base = base
        self._take = take
        self._loop = asyncio.get_running_loop()
        self._control = Lock()  # of watches and observer; watchdog's own threads never take it
        self._lock = Lock()  # of the pending hints
        self._pending: dict[bytes, bool] = {}
        self._watches: dict[bytes, ObservedWatch] = {}
        self._observer: BaseObserver | None = None

    def start(self) -> None:
        """Blocks shortly. Without inotify (limit of watches or instances reached) there are no hints, and a warning."""
        with self._control:
            try:
                observer = Observer()
                observer.schedule(self, os.fsdecode(self._base), event_filter=_EVENTS)
                observer.start()
            except OSError as error:
                _log.warning("dock.hints_unavailable", extra={"error": str(error)})
                return
            self._observer = observer

    def stop(self) -> None:
        """Blocks until watchdog's threads have ended."""
        with self._control:
            observer, self._observer = self._observer, None
            self._watches.clear()
            if observer is not None:
                observer.stop()
                observer.join()

    def follow(self, name: bytes) -> None:
        """Also watch the folder ``name`` in the base, not what lies deeper. Blocks shortly."""
        path = os.fsdecode(os.path.join(self._base, name))
        with self._control:
            if self._observer is None or name in self._watches:
                return
            with suppress(OSError):  # gone again, or no watches left: the rescan finds out
                self._watches[name] = self._observer.schedule(self, path, event_filter=_EVENTS)

    def unfollow(self, name: bytes) -> None:
        """Blocks until the watch is gone."""
        with self._control:
            watch = self._watches.pop(name, None)
            if watch is not None and self._observer is not None:
                self._observer.unschedule(watch)

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Called by watchdog on its own thread."""
        removed = event.event_type in (EVENT_TYPE_DELETED, EVENT_TYPE_MOVED)
        self._note(event.src_path, removed=removed)
        if event.dest_path:
            self._note(event.dest_path, removed=False)

    def _note(self, path: bytes | str, *, removed: bool) -> None:
        inside = os.fsencode(path)[len(self._base) :].strip(b"/")
        name, slash, _ = inside.partition(b"/")
        with self._lock:
            idle = not self._pending
            if name in self._pending or len(self._pending) < MAX_PENDING:
                self._pending[name] = self._pending.get(name, False) or (removed and not slash)
        if idle:
            with suppress(RuntimeError):  # the loop is closed: nobody is waiting any more
                self._loop.call_soon_threadsafe(self._hand_over)

    def _hand_over(self) -> None:
        with self._lock:
            pending, self._pending = self._pending, {}
        for name, removed in pending.items():
            self._take(name, removed)
