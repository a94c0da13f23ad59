"""An MQTT 5 broker in memory, for both sides' ``Broker`` ports: QoS 1, persistent sessions, retained status,
last will, access by name; and on demand the bad days of a real one: lines cut, messages twice, messages lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import agent.broker.errors as agent_errors
import collector.broker.errors as collector_errors
from agent.broker.port import Presence
from protocol.errors import MalformedError
from protocol.ids import COLLECTOR
from protocol.limits import MAX_MESSAGE_BYTES
from protocol.topics import DOWNWARD, ROOT, UPWARD, Topic

NOT_AUTHORIZED = 0x87


@dataclass
class _Session:
    """Outlives connections: what the broker holds for one name until it is acknowledged."""

    name: str
    bus: MemoryBus | None = None
    unacknowledged: dict[int, tuple[str, bytes]] = field(default_factory=dict)


class MemoryBroker:
    """The broker; ``station`` and ``collector`` give connections to it."""

    def __init__(self) -> None:
        self._sessions: dict[str, _Session] = {}
        self._retained: dict[str, bytes] = {}
        self._next_id = 0
        self._duplicates = 0
        self._losses = 0
        self._cut: set[str] = set()

    def station(self, name: str, presence: Presence) -> MemoryBus:
        return MemoryBus(self, name, presence=presence)

    def collector(self) -> MemoryBus:
        return MemoryBus(self, COLLECTOR, presence=None)

    def duplicate_next(self, count: int = 1) -> None:
        """The next messages are delivered twice."""
        self._duplicates += count

    def lose_next(self, count: int = 1) -> None:
        """The next messages are acknowledged and never delivered, as by a broker killed before its autosave."""
        self._losses += count

    def cut(self, name: str) -> None:
        """The line to this client is dead until ``restore``."""
        self._cut.add(name)
        session = self._sessions.get(name)
        if session is not None and session.bus is not None:
            session.bus.lose_connection()

    def restore(self, name: str) -> None:
        self._cut.discard(name)
        session = self._sessions.get(name)
        if session is not None and session.bus is not None:
            self.connect(session.bus)

    # --- for MemoryBus -----------------------------------------------------------------------------------------

    def attach(self, bus: MemoryBus) -> None:
        self._sessions.setdefault(bus.name, _Session(bus.name)).bus = bus
        self.connect(bus)

    def detach(self, bus: MemoryBus) -> None:
        session = self._sessions[bus.name]
        if session.bus is bus:
            bus.lose_connection()
            session.bus = None

    def connect(self, bus: MemoryBus) -> None:
        if bus.name in self._cut or bus.connected:
            return
        session = self._sessions[bus.name]
        bus.become_connected()
        for message_id, (topic, payload) in list(session.unacknowledged.items()):
            bus.deliver(message_id, topic, payload)
        for topic, payload in self._retained.items():
            if _may_read(bus.name, topic):
                self._enqueue(session, topic, payload)
        if bus.presence is not None:
            self.accept(bus.presence.topic, bus.presence.online, retain=True)

    def acknowledge(self, name: str, message_id: int) -> None:
        self._sessions[name].unacknowledged.pop(message_id, None)

    def accept(self, topic: str, payload: bytes, *, retain: bool) -> None:
        if retain:
            self._retained[topic] = payload
        if self._losses:
            self._losses -= 1
            return
        copies = 2 if self._duplicates else 1
        self._duplicates -= copies - 1
        for session in self._sessions.values():
            if _may_read(session.name, topic):
                for _ in range(copies):
                    self._enqueue(session, topic, payload)

    def _enqueue(self, session: _Session, topic: str, payload: bytes) -> None:
        self._next_id += 1
        session.unacknowledged[self._next_id] = (topic, payload)
        if session.bus is not None and session.bus.connected:
            session.bus.deliver(self._next_id, topic, payload)


class MemoryMessage:
    """One delivery over one connection."""

    def __init__(self, bus: MemoryBus, generation: int, message_id: int, topic: str, payload: bytes) -> None:
        self._bus = bus
        self._generation = generation
        self._id = message_id
        self._topic = topic
        self._payload = payload

    @property
    def topic(self) -> str:
        return self._topic

    @property
    def payload(self) -> bytes:
        return self._payload

    def ack(self) -> None:
        self._bus.acknowledge(self._generation, self._id)


class MemoryBus:
    """One connection; satisfies ``agent.broker.port.Broker`` and ``collector.broker.port.Broker``."""

    def __init__(self, hub: MemoryBroker, name: str, *, presence: Presence | None) -> None:
        self.name = name
        self.presence = presence
        self._hub = hub
        self._connected = asyncio.Event()
        self._generation = 0
        self._queue: asyncio.Queue[MemoryMessage | None] = asyncio.Queue()
        self._errors = collector_errors if name == COLLECTOR else agent_errors

    async def start(self) -> None:
        self._hub.attach(self)

    async def stop(self) -> None:
        self._hub.detach(self)
        self._queue.put_nowait(None)

    async def wait_connected(self) -> None:
        await self._connected.wait()

    @property
    def connected(self) -> bool:
        return self._connected.is_set()

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        if len(payload) > MAX_MESSAGE_BYTES:
            raise self._errors.MessageTooLargeError(f"a message of {len(payload)} bytes")
        if not self.connected:
            raise self._errors.BrokerUnavailableError("not connected to the broker")
        await asyncio.sleep(0)
        if not _may_write(self.name, topic):
            raise self._errors.PublishRefusedError(topic, NOT_AUTHORIZED, "Not authorized")
        self._hub.accept(topic, payload, retain=retain)

    async def messages(self) -> AsyncIterator[MemoryMessage]:
        while (message := await self._queue.get()) is not None:
            yield message

    # --- for MemoryBroker --------------------------------------------------------------------------------------

    def become_connected(self) -> None:
        self._connected.set()

    def lose_connection(self) -> None:
        was_connected = self.connected
        self._connected.clear()
        self._generation += 1
        while not self._queue.empty():
            self._queue.get_nowait()
        if was_connected and self.presence is not None:
            self._hub.accept(self.presence.topic, self.presence.offline, retain=True)

    def deliver(self, message_id: int, topic: str, payload: bytes) -> None:
        self._queue.put_nowait(MemoryMessage(self, self._generation, message_id, topic, payload))

    def acknowledge(self, generation: int, message_id: int) -> None:
        if generation == self._generation:
            self._hub.acknowledge(self.name, message_id)


def _may_read(name: str, topic: str) -> bool:
    parsed = Topic.parse(topic)
    if name == COLLECTOR:
        return parsed.channel in UPWARD
    return parsed.station == name and parsed.channel in DOWNWARD


def _may_write(name: str, topic: str) -> bool:
    if name == COLLECTOR:
        return topic.startswith(ROOT + "/")
    try:
        parsed = Topic.parse(topic)
    except MalformedError:
        return False
    return parsed.station == name and parsed.channel in UPWARD
