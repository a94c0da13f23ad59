"""The collector's ear on the broker: statements in, admissions and receipts out.

A message is acknowledged only when its admission was published or cannot be given at all, so a statement is
never lost here; it may be answered twice, which is harmless.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import Final

from collector.broker.errors import BrokerError
from collector.broker.port import Broker, Message
from collector.catalogue import Promise
from collector.errors import CollectorError
from collector.intake import Intake
from collector.receipts import Receipts
from protocol.canonical import Json, parse_json
from protocol.dsse import Envelope
from protocol.errors import ProtocolError
from protocol.topics import Channel, Topic

logger = logging.getLogger(__name__)

MAX_STATUS_BYTES: Final = 65_536
"""A status has some 700 bytes for each bay, and the largest stations have 32; kept in memory for every station."""

MAX_STATIONS: Final = 2_000
"""Stations whose status is kept: the agency in a topic is the sender's choice, so there is no other bound."""

_AT_ONCE: Final = 256
"""Messages under way: as many as one batch of the log can take."""

_RETRY_S: Final = 1.0

_WAITING_RECEIPTS: Final = 32
"""Receipts to be pushed. A station that has more coming asks for all of them, many together: a message each costs more
than all other work for a small file."""


class Dispatcher:
    """One task reads, bounded tasks answer. ``stations`` holds the last status each station published."""

    def __init__(
        self, *, broker: Broker, intake: Intake, receipts: Receipts, retry_s: float = _RETRY_S
    ) -> None:
        self._broker = broker
        self._intake = intake
        self._receipts = receipts
        self._retry_s = retry_s
        self._promises: asyncio.Queue[Promise] = asyncio.Queue(_WAITING_RECEIPTS)
        self.stations: OrderedDict[tuple[str, str], Json] = OrderedDict()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._push_receipts(), name="announcer")
            group.create_task(self._listen(), name="dispatch")

    def announce(self, promises: Sequence[Promise]) -> None:
        """Push fresh receipts when their turn comes. Best effort: a station that misses one asks for it."""
        many = Counter(promise.station for promise in promises)
        for promise in promises:
            if many[promise.station] > _WAITING_RECEIPTS or self._promises.full():
                logger.debug("dispatch.receipt_not_pushed code=many-at-once statement=%s", promise.statement)
            else:
                self._promises.put_nowait(promise)

    async def _push_receipts(self) -> None:
        while True:
            promises = [await self._promises.get()]
            while not self._promises.empty():
                promises.append(self._promises.get_nowait())
            if self._broker.connected:
                await self._push(promises)

    async def _push(self, promises: Sequence[Promise]) -> None:
        try:
            made = await self._receipts.make_all([promise.statement for promise in promises])
        except Exception:
            logger.exception("dispatch.receipts_crashed count=%d", len(promises))
            return
        ready = [(promise, made.receipts.get(promise.statement)) for promise in promises]
        await asyncio.gather(*(self._push_receipt(promise, data) for promise, data in ready if data))

    async def _push_receipt(self, promise: Promise, receipt: bytes) -> None:
        topic = Topic(agency=promise.agency, station=promise.station, channel=Channel.RECEIPTS)
        try:
            await self._broker.publish(str(topic), receipt)
        except BrokerError as error:
            logger.info("dispatch.receipt_not_pushed code=%s statement=%s", error.code, promise.statement)
        except Exception:
            logger.exception("dispatch.receipt_crashed statement=%s", promise.statement)

    async def _listen(self) -> None:
        slots = asyncio.Semaphore(_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            async for message in self._broker.messages():
                await slots.acquire()
                task = group.create_task(self._handle(message), name="dispatch-message")
                task.add_done_callback(lambda _: slots.release())

    async def _handle(self, message: Message) -> None:
        try:
            await self._read(Topic.parse(message.topic), message.payload)
        except ProtocolError as error:
            logger.warning("dispatch.message_unusable code=%s topic=%s", error.code, message.topic[:200])
        except Exception:
            # A message that nobody can handle would otherwise come again after every restart. Nothing is lost: a
            # station closes its row only on an admission.
            logger.exception("dispatch.message_crashed topic=%s", message.topic[:200])
        message.ack()

    async def _read(self, topic: Topic, payload: bytes) -> None:
        if topic.channel is Channel.STATEMENTS:
            await self._answer(topic, Envelope.from_bytes(payload))
        elif topic.channel is Channel.STATUS:
            self._note_status(topic, payload)

    async def _answer(self, topic: Topic, envelope: Envelope) -> None:
        answer = await self._admit(topic.station, envelope)
        reply = Topic(agency=topic.agency, station=topic.station, channel=Channel.ADMISSIONS)
        try:
            await self._broker.publish(str(reply), answer.to_bytes())
        except BrokerError as error:
            logger.info("dispatch.admission_not_pushed code=%s station=%s", error.code, topic.station)

    async def _admit(self, station: str, envelope: Envelope) -> Envelope:
        """The admission, however long it takes: the broker keeps what is not acknowledged."""
        while True:
            try:
                return await self._intake.answer(station, [envelope])
            except CollectorError as error:
                logger.warning("dispatch.log_unavailable code=%s", error.code)
                await asyncio.sleep(self._retry_s)

    def _note_status(self, topic: Topic, payload: bytes) -> None:
        key = (topic.agency, topic.station)
        if not payload:  # a retained message is taken back with an empty one
            self.stations.pop(key, None)
            return
        self.stations[key] = parse_json(payload, max_bytes=MAX_STATUS_BYTES, what="status")
        self.stations.move_to_end(key)
        if len(self.stations) > MAX_STATIONS:
            self.stations.popitem(last=False)
