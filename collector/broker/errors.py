"""What can go wrong between collector and broker. Everything said over MQTT can also be said over HTTP."""

from __future__ import annotations

from typing import ClassVar

from collector.errors import CollectorError


class BrokerError(CollectorError):
    """Root of the broker's errors."""

    code: ClassVar[str] = "broker-error"


class BrokerUnavailableError(BrokerError):
    """Not connected, or the connection was lost before the broker acknowledged: it may or may not have it."""

    code: ClassVar[str] = "broker-unavailable"
    retryable: ClassVar[bool] = True
    status: ClassVar[int] = 503


class PublishRefusedError(BrokerError):
    """The broker refused a message with an MQTT 5 reason code, 0x80 or above."""

    code: ClassVar[str] = "publish-refused"

    def __init__(self, topic: str, reason_code: int, reason: str) -> None:
        super().__init__(f"the broker refused a message on {topic}: {reason} (0x{reason_code:02x})")
        self.topic = topic
        self.reason_code = reason_code


class MessageTooLargeError(BrokerError):
    """Larger than ``protocol.limits.MAX_MESSAGE_BYTES``; not sent."""

    code: ClassVar[str] = "message-too-large"


class MosquittoMissingError(BrokerError):
    """A program the managed broker needs is not installed."""

    code: ClassVar[str] = "mosquitto-missing"


class MosquittoStartError(BrokerError):
    """The managed broker did not come up; the message has its last words."""

    code: ClassVar[str] = "mosquitto-start"
