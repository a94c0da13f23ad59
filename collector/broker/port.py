"""The collector's port to a message broker: persistent session, at least once, acknowledged by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol


class Message(Protocol):
    """One message from a station (消息). It comes again, after a reconnection, until ``ack`` was called."""

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
        """Disconnect; ``messages`` ends, publishes under way fail."""
        ...

    async def wait_connected(self) -> None:
        """Until connected and subscribed."""
        ...

    @property
    def connected(self) -> bool: ...

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Returns when the broker has acknowledged, which promises nothing durable.

        Raises BrokerUnavailableError (the message may have arrived), PublishRefusedError or MessageTooLargeError.
        """
        ...

    def messages(self) -> AsyncIterator[Message]:
        """What arrives, for one consumer. The broker holds back while too many are not acknowledged."""
        ...
