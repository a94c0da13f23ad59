"""What can go wrong between station and broker. Nothing is lost by any of it: the outbox keeps its rows."""

from __future__ import annotations

from typing import ClassVar

from agent.errors import AgentError


class BrokerError(AgentError):
    """Root of the broker's errors."""

    code: ClassVar[str] = "broker-error"


class BrokerUnavailableError(BrokerError):
    """Not connected, or the connection was lost before the broker acknowledged: it may or may not have it."""

    code: ClassVar[str] = "broker-unavailable"
    retryable: ClassVar[bool] = True


class PublishRefusedError(BrokerError):
    """The broker refused a message with an MQTT 5 reason code, 0x80 or above (0x87: not this certificate's topic)."""

    code: ClassVar[str] = "publish-refused"

    def __init__(self, topic: str, reason_code: int, reason: str) -> None:
        super().__init__(f"the broker refused a message on {topic}: {reason} (0x{reason_code:02x})")
        self.topic = topic
        self.reason_code = reason_code


class MessageTooLargeError(BrokerError):
    """Larger than ``protocol.limits.MAX_MESSAGE_BYTES``; not sent."""

    code: ClassVar[str] = "message-too-large"
