"""Durable steps: what a program does to a disk, and what can happen to it there."""

from __future__ import annotations

from enum import Enum, StrEnum
from typing import Final, Protocol

from tests.campaign.disk import Disk
from tests.campaign.process import Process


class Verb(StrEnum):
    """What a durable step does."""

    CREATE = "create"
    WRITE = "write"
    SYNC = "sync"
    SYNC_FOLDER = "sync-folder"
    RENAME = "rename"
    LINK = "link"
    REMOVE = "remove"
    FOLDER = "make-folder"
    CHANGE = "change"
    COMMIT = "commit"


class Act(Enum):
    """What happens at a step instead of, before or after the call."""

    NO_SPACE = "no-space"
    IO_ERROR = "io-error"
    DONE_AND_FAILED = "done-and-failed"
    SHORT = "short-write"
    LIE = "lying-sync"
    CRASH_BEFORE = "crash-before"
    CRASH_AFTER = "crash-after"
    POWER_BEFORE = "power-cut-before"
    POWER_AFTER = "power-cut-after"


CRASHES: Final = frozenset({Act.CRASH_BEFORE, Act.CRASH_AFTER, Act.POWER_BEFORE, Act.POWER_AFTER})


class Site(Protocol):
    """What the kernel asks of the simulation."""

    def at_step(self, process: Process, verb: Verb, path: str) -> Act | None:
        """Whether something happens at this step."""

    def end(self, process: Process, *, power_cut: bool) -> None:
        """The process dies now, and its machine loses power if so."""

    def disk_of(self, process: Process) -> Disk: ...

    def is_full(self, process: Process) -> bool: ...
