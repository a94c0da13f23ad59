"""What the broker brings: admissions, receipts, commands. Acknowledged only when the journal has it.

A hostile or broken message is logged with its code and acknowledged: coming again it would be no better. A receipt
whose log cannot be proven just now, or that finds the disk full, is acknowledged too, because nothing hangs on the
message: its delivery is still open in the journal, and the delivery loop fetches the receipt by HTTP.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Protocol

from agent.broker.port import Broker, Message
from agent.spool.errors import SpoolError
from agent.uplink.admissions import AdmissionDesk
from agent.uplink.errors import AdmissionInvalidError, ReceiptInvalidError, UplinkError
from agent.uplink.receipts import ReceiptDesk
from agent.uplink.state import UplinkState
from protocol.errors import ForkError, ProtocolError
from protocol.topics import Channel, Topic

HANDLED_TOGETHER: Final = 32
"""Messages in work at once: receipts share disk flushes; below the bus's receive maximum, so that it never stalls."""

_log = logging.getLogger(__name__)


class CommandHandler(Protocol):
    """Carries out what the collector asks of the station; must be durable when it returns."""

    async def __call__(self, agency: str, payload: bytes) -> None: ...


class Inbox:
    """One per station. ``run`` ends when the broker is stopped."""

    def __init__(
        self,
        *,
        broker: Broker,
        station: str,
        admissions: AdmissionDesk,
        receipts: ReceiptDesk,
        state: UplinkState,
        commands: CommandHandler | None = None,
    ) -> None:
        self._broker = broker
        self._station = station
        self._admissions = admissions
        self._receipts = receipts
        self._state = state
        self._commands = commands
        self._slots = asyncio.Semaphore(HANDLED_TOGETHER)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            async for message in self._broker.messages():
                await self._slots.acquire()
                task = tasks.create_task(self._handle(message), name="inbox message")
                task.add_done_callback(lambda _: self._slots.release())

    async def _handle(self, message: Message) -> None:
        """Raises JournalError and what nobody foresaw: then the message stays with the broker."""
        try:
            await self._take(message)
        except ForkError as error:
            _log.error("message-refused", extra={"topic": message.topic, "code": error.code})
        except (AdmissionInvalidError, ReceiptInvalidError, ProtocolError) as error:
            self._state.report(error.code, f"{message.topic}: {error}")
        except (UplinkError, SpoolError) as error:
            _log.info("receipt-deferred", extra={"topic": message.topic, "code": error.code})
        message.ack()

    async def _take(self, message: Message) -> None:
        topic = Topic.parse(message.topic)
        if topic.station != self._station:
            raise AdmissionInvalidError("a message for another station")
        if topic.channel is Channel.ADMISSIONS:
            await self._admissions.accept(message.payload)
        elif topic.channel is Channel.RECEIPTS:
            await self._receipts.accept(message.payload)
        elif topic.channel is Channel.COMMANDS and self._commands is not None:
            await self._commands(topic.agency, message.payload)
        else:
            _log.warning("message-not-understood", extra={"topic": message.topic, "code": "channel-unknown"})
