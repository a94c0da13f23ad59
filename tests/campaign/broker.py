"""The broker's bad days: messages lost after their acknowledgement, twice, late and out of order, and its death.

It lives and dies with the collector. Killed before its autosave it forgets what it took since, and remembers what was
acknowledged to it since (Mosquitto, measured).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from random import Random

from tests.campaign.clockwork import Clockwork
from tests.campaign.process import CURRENT, Process
from tests.support.memory_broker import MemoryBroker, MemoryBus

_RECONNECT_S = 3.0


class BrokerAct(Enum):
    """What happens to a message the broker takes."""

    LOSE = "lost-after-puback"
    TWICE = "duplicated"
    LATE = "delayed"
    CUT = "connection-lost"
    KILL = "broker-killed"


class SimBroker(MemoryBroker):
    """``decide`` is asked for each message."""

    def __init__(self, loop: Clockwork, rng: Random, decide: Callable[[str], BrokerAct | None]) -> None:
        super().__init__()
        self._loop = loop
        self._rng = rng
        self._decide = decide
        self.is_up = False
        self._saved: dict[str, dict[int, tuple[str, bytes]]] = {}

    def start(self) -> None:
        self.is_up = True
        self._later_all()

    def _later_all(self) -> None:
        for name in list(self._sessions):
            self._loop.call_later(self._rng.random() * _RECONNECT_S, self.restore, name)

    def stop(self, *, killed: bool) -> None:
        """With its process; when killed, back to what it had saved."""
        self.is_up = False
        for name, session in self._sessions.items():
            self.cut(name)
            if killed:
                session.unacknowledged = dict(self._saved.get(name, {}))
        self._saved = {name: dict(session.unacknowledged) for name, session in self._sessions.items()}

    def restore(self, name: str) -> None:
        if self.is_up:
            super().restore(name)

    def attach(self, bus: MemoryBus) -> None:
        if not self.is_up:
            self._cut.add(bus.name)
        super().attach(bus)
        process = CURRENT.get()
        if process is not None:
            process.on_death.append(lambda: self.detach(bus))

    def accept(self, topic: str, payload: bytes, *, retain: bool) -> None:
        act = None if retain else self._decide(topic)
        match act:
            case BrokerAct.LOSE:
                self.lose_next()
            case BrokerAct.TWICE:
                self.duplicate_next()
            case BrokerAct.LATE:
                self._loop.call_later(self._rng.random() * 20, lambda: self._accept(topic, payload))
                return
            case BrokerAct.CUT:
                for name in list(self._sessions):
                    self._loop.call_soon(self.cut, name)
                self._loop.call_later(self._rng.random() * 20, self._later_all)
            case BrokerAct.KILL:
                self._loop.call_soon(self._die)
            case None:
                pass
        super().accept(topic, payload, retain=retain)

    def _accept(self, topic: str, payload: bytes) -> None:
        super().accept(topic, payload, retain=False)

    def _die(self) -> None:
        if self.is_up:
            self.stop(killed=True)
            self._loop.call_later(1.0, self.start)


class SimMosquitto:
    """``ManagedMosquitto`` as the collector uses it."""

    def __init__(self, broker: SimBroker) -> None:
        self._broker = broker

    async def give_access(self, stations: object) -> None:
        """The twin of the broker knows everybody."""

    async def start(self) -> None:
        process = CURRENT.get()
        self._broker.start()
        if process is not None:
            process.on_death.append(lambda: self._broker.stop(killed=True))

    async def stop(self) -> None:
        self._broker.stop(killed=False)


def owner_of(process: Process | None) -> str:
    return "" if process is None else process.machine
