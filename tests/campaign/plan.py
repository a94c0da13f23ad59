"""Which faults strike, where and when: chosen by the seed, counted when they really strike."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from random import Random
from types import FrameType
from typing import Final

from tests.campaign.acts import Act, Verb
from tests.campaign.broker import BrokerAct
from tests.campaign.network import NetAct
from tests.campaign.process import Process

_ROOT: Final = f"{Path(__file__).parents[2]}/"


class Kind(StrEnum):
    """Kinds of faults, as they are counted."""

    CRASH = "crash"
    POWER_CUT = "power cut"
    NO_SPACE = "disk full, one call"
    DISK_FULL = "disk full for a while"
    IO_ERROR = "I/O error"
    DONE_AND_FAILED = "done, reported as failed"
    SHORT_WRITE = "short write"
    LYING_SYNC = "lying fsync"
    NET_CUT = "connection cut"
    NET_TRUNCATED = "write truncated"
    NET_HALF_OPEN = "half-open connection"
    NET_SLOW = "throttled connection"
    AWAY = "collector unreachable"
    MQTT_LOST = "message lost after PUBACK"
    MQTT_TWICE = "message duplicated"
    MQTT_LATE = "message delayed, reordered"
    MQTT_CUT = "broker connection lost"
    MQTT_KILLED = "broker killed"
    CLOCK = "clock jump"
    EARLY_PULL = "recorder pulled early"
    READ_ERROR = "recorder read error"
    FILE_GROWS = "file changes while read"
    FILE_REPLACED = "other bytes under the same name"
    PULLED_AT_RELEASE = "recorder pulled while erased"
    VOLUME_LOCKED = "volume locked or dirty at release"
    RECEIPT_DAMAGED = "kept receipt damaged"


ACTS: Final = {
    Kind.CRASH: (Act.CRASH_BEFORE, Act.CRASH_AFTER),
    Kind.POWER_CUT: (Act.POWER_BEFORE, Act.POWER_AFTER),
    Kind.NO_SPACE: (Act.NO_SPACE,),
    Kind.IO_ERROR: (Act.IO_ERROR,),
    Kind.DONE_AND_FAILED: (Act.DONE_AND_FAILED,),
    Kind.SHORT_WRITE: (Act.SHORT,),
    Kind.LYING_SYNC: (Act.LIE,),
    Kind.RECEIPT_DAMAGED: (Act.LIE,),
}
NET_ACTS: Final = {
    Kind.NET_CUT: NetAct.CUT,
    Kind.NET_TRUNCATED: NetAct.TRUNCATE,
    Kind.NET_HALF_OPEN: NetAct.SILENCE,
    Kind.NET_SLOW: NetAct.CRAWL,
}
MQTT_ACTS: Final = {
    Kind.MQTT_LOST: BrokerAct.LOSE,
    Kind.MQTT_TWICE: BrokerAct.TWICE,
    Kind.MQTT_LATE: BrokerAct.LATE,
    Kind.MQTT_CUT: BrokerAct.CUT,
    Kind.MQTT_KILLED: BrokerAct.KILL,
}
FILLS: Final = frozenset({Verb.CREATE, Verb.WRITE, Verb.FOLDER, Verb.COMMIT})

STRIKES_AT: Final = {
    Kind.SHORT_WRITE: frozenset({Verb.WRITE}),
    Kind.LYING_SYNC: frozenset({Verb.SYNC}),
    Kind.RECEIPT_DAMAGED: frozenset({Verb.SYNC}),
    Kind.NO_SPACE: frozenset({Verb.CREATE, Verb.WRITE, Verb.FOLDER, Verb.RENAME, Verb.LINK, Verb.COMMIT}),
    Kind.DISK_FULL: FILLS,
    Kind.DONE_AND_FAILED: frozenset(set(Verb) - {Verb.WRITE, Verb.CREATE}),
}
"""Where a fault of this kind can strike; everywhere if nothing is said."""

ALL_VERBS: Final = frozenset(Verb)

Step = tuple[str, str, Verb]
"""A durable step by what matters of it: machine, place in the code, what it does."""


_TOOLS: Final = frozenset(
    {
        "collector/files.py",
        "collector/part_writer.py",
        "collector/database/engine.py",
        "agent/spool/database.py",
    }
)
"""Code that does what others say: who said so is the place."""


def _place(verb: Verb) -> str:
    """Where in the product this step is taken."""
    frame: FrameType | None = sys._getframe(3)
    while frame is not None:
        name = _shown(frame.f_code.co_filename)
        if name and name not in _TOOLS:
            return f"{name} {frame.f_code.co_name}: {verb.value}"
        frame = frame.f_back
    return f"elsewhere: {verb.value}"


@cache
def _shown(file: str) -> str:
    """Path of a file of the product below its root; empty for any other."""
    inside = file.removeprefix(_ROOT)
    return inside if inside != file and inside.startswith(("agent/", "collector/")) else ""


@dataclass(slots=True)
class Fault:
    """One planned fault: at the ``at``-th step of its kind on that machine, or at that second."""

    kind: Kind
    machine: str = ""
    path: str = ""
    place: str = ""
    """The one place in the code that counts; every one if empty."""
    usual: frozenset[str] = frozenset()
    """Places that do not count; of the others each counts once: what only recovery comes to."""
    at: int = 0
    at_s: float = 0.0
    for_s: float = 0.0
    seen: int = 0
    struck: bool = False
    _places: set[str] = field(default_factory=set)

    def describe(self) -> str:
        where = f"step {self.at}" if self.at else f"second {self.at_s:.1f}"
        which = f" of {self.place}" if self.place else " off the usual way" if self.usual else ""
        end = "struck" if self.struck else "never struck"
        return f"{self.kind.value} on {self.machine} at {where}{which}, {end}"

    def is_due(self, place: str) -> bool:
        """One step further; whether this is the one."""
        if self.place and place != self.place:
            return False
        if self.usual:
            if place in self.usual or place in self._places:
                return False
            self._places.add(place)
        self.seen += 1
        return self.seen >= self.at


@dataclass(eq=False)
class Plan:
    """Asked at every step; what it answers happens. ``log`` is called with what struck."""

    rng: Random
    faults: list[Fault] = field(default_factory=list)
    active: bool = True
    steps: Counter[Step] = field(default_factory=Counter)
    places: Counter[str] = field(default_factory=Counter)
    places_struck: Counter[str] = field(default_factory=Counter)
    writes: int = 0
    messages: int = 0
    struck: Counter[Kind] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    on_full: Callable[[Fault], None] = lambda _: None
    """A disk becomes full at a step, and stays so for a while."""

    def at_step(self, process: Process, verb: Verb, path: str, *, is_full: bool) -> Act | None:
        """A durable step of a program, on a disk that may be full."""
        place = _place(verb)
        self.steps[process.machine, place, verb] += 1
        self.places[place] += 1
        act = self._strike_at(process, place, verb, path) if self.active else None
        if act is None and is_full and verb in FILLS:
            act = Act.NO_SPACE
        if act is not None:
            self.places_struck[place] += 1
        return act

    def _strike_at(self, process: Process, place: str, verb: Verb, path: str) -> Act | None:
        for fault in self.faults:
            if fault.struck or not fault.at or fault.machine != process.machine or fault.path not in path:
                continue
            if fault.kind not in ACTS and fault.kind is not Kind.DISK_FULL:
                continue
            is_receipt = "/receipts/" in path and verb is Verb.SYNC
            if fault.kind is (Kind.LYING_SYNC if is_receipt else Kind.RECEIPT_DAMAGED):
                continue  # a receipt is not evidence: whoever reads it verifies it, and it can be made again
            if verb in STRIKES_AT.get(fault.kind, ALL_VERBS) and fault.is_due(place):
                self.strike(fault, f"{process.machine}: {verb.value} {path.rpartition('/')[2]}")
                if fault.kind is Kind.DISK_FULL:
                    self.on_full(fault)
                    return Act.NO_SPACE
                return self.rng.choice(ACTS[fault.kind])
        return None

    def at_write(self, process: Process, peer: str) -> NetAct | None:
        """Something is written to a connection."""
        self.writes += 1
        if not self.active:
            return None
        for fault in self.faults:
            if fault.struck or fault.kind not in NET_ACTS:
                continue
            fault.seen += 1
            if fault.seen >= fault.at:
                self.strike(fault, f"{process.machine} to {peer}")
                return NET_ACTS[fault.kind]
        return None

    def at_message(self, topic: str) -> BrokerAct | None:
        """The broker takes a message."""
        self.messages += 1
        if not self.active:
            return None
        for fault in self.faults:
            if fault.struck or fault.kind not in MQTT_ACTS:
                continue
            fault.seen += 1
            if fault.seen >= fault.at:
                self.strike(fault, topic)
                return MQTT_ACTS[fault.kind]
        return None

    def at_erasure(self) -> bool:
        """A file was erased from a recorder: whether it is pulled now."""
        for fault in self.faults:
            if self.active and fault.kind is Kind.PULLED_AT_RELEASE and not fault.struck:
                fault.seen += 1
                if fault.seen >= fault.at:
                    self.strike(fault, "after an erasure")
                    return True
        return False

    def strike(self, fault: Fault, where: str) -> None:
        fault.struck = True
        self.struck[fault.kind] += 1
        self.notes.append(f"{fault.kind.value}: {where}")
