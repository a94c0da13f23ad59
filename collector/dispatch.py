"""The collector's ear on the broker: statements in, admissions and receipts out.

A message is acknowledged only when its admission was published or cannot be given at all, so a statement is
never lost here; it may be answered twice, which is harmless.
"""

from __future__ import annotations

import asyncio
import logging
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
from protocol.limits import MAX_MESSAGE_BYTES
from protocol.topics import Channel, Topic

logger = logging.getLogger(__name__)

_AT_ONCE: Final = 256
"""Messages under way: as many as one batch of the log can take."""

_RETRY_S: Final = 1.0


class Dispatcher:
    """One task reads, bounded tasks answer. ``stations`` holds the last status each station published."""

    def __init__(self, *, broker: Broker, intake: Intake, receipts: Receipts) -> None:
        self._broker = broker
        self._intake = intake
        self._receipts = receipts
        self.stations: dict[tuple[str, str], Json] = {}

    async def run(self) -> None:
        """Until cancelled."""
        slots = asyncio.Semaphore(_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            async for message in self._broker.messages():
                await slots.acquire()
                task = group.create_task(self._handle(message), name="dispatch")
                task.add_done_callback(lambda _: slots.release())

    async def announce(self, promise: Promise) -> None:
        """Push a fresh receipt. Best effort: a station that misses it asks for it."""
        if not self._broker.connected:
            return
        try:
            receipt = await self._receipts.make(promise.statement)
            topic = Topic(agency=promise.agency, station=promise.station, channel=Channel.RECEIPTS)
            await self._broker.publish(str(topic), receipt.to_bytes())
        except CollectorError as error:
            logger.info("dispatch.receipt_not_pushed code=%s statement=%s", error.code, promise.statement)

    async def _handle(self, message: Message) -> None:
        try:
            topic = Topic.parse(message.topic)
            if topic.channel is Channel.STATEMENTS:
                await self._answer(topic, Envelope.from_bytes(message.payload))
            elif topic.channel is Channel.STATUS:
                self._note_status(topic, message.payload)
        except ProtocolError as error:
            logger.warning("dispatch.message_unusable code=%s topic=%s", error.code, message.topic[:200])
        message.ack()

    async def _answer(self, topic: Topic, envelope: Envelope) -> None:
        while True:
            try:
                answer = await self._intake.answer(topic.station, [envelope])
                break
            except CollectorError as error:
                logger.warning("dispatch.log_unavailable code=%s", error.code)
                await asyncio.sleep(_RETRY_S)
        reply = Topic(agency=topic.agency, station=topic.station, channel=Channel.ADMISSIONS)
        try:
            await self._broker.publish(str(reply), answer.to_bytes())
        except BrokerError as error:
            logger.info("dispatch.admission_not_pushed code=%s station=%s", error.code, topic.station)

    def _note_status(self, topic: Topic, payload: bytes) -> None:
        status = parse_json(payload, max_bytes=MAX_MESSAGE_BYTES, what="status") if payload else None
        self.stations[topic.agency, topic.station] = status
