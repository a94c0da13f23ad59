"""The station's port to the collector's broker: persistent session, at least once, acknowledged by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """What is said on one retained status topic (在线状态): by the station at every connection, by the broker when
    the connection ends, in whatever way. MQTT has one last will, so a station that serves several agencies
    shows its presence under the first."""

    topic: str
    online: bytes
    offline: bytes


class Message(Protocol):
    """One message from the collector (消息). It comes again, after a reconnection, until ``ack`` was called."""

    @property
    def topic(self) -> str: ...

    @property
    def payload(self) -> bytes: ...

    def ack(self) -> None:
        """Done with it, durably. Harmless when repeated or when the connection has changed since."""
        ...


class Broker(Protocol):
    """Publish and receive with QoS 1. Messages may come twice and out of order."""

    async def start(self) -> None:
        """Begin connecting, and reconnecting for ever; does not wait for success."""
        ...

    async def stop(self) -> None:
        """Go offline; ``messages`` ends, publishes under way fail."""
        ...

    async def wait_connected(self) -> None:
        """Until connected and subscribed."""
        ...

    @property
    def connected(self) -> bool: ...

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Returns when the broker has acknowledged, which promises nothing durable: the outbox waits for the
        collector's admission.

        Raises BrokerUnavailableError (the message may have arrived), PublishRefusedError or MessageTooLargeError.
        """
        ...

    def messages(self) -> AsyncIterator[Message]:
        """What arrives, for one consumer. The broker holds back while too many are not acknowledged."""
        ...
