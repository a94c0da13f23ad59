"""What can keep a recorder from being released. Nothing that was read is lost, and nothing doubtful is erased."""

from __future__ import annotations

from agent.errors import AgentError


class ReleaseError(AgentError):
    """A recorder, or one file of it, cannot be released now."""

    code = "release-error"


class ReceiptUnprovenError(ReleaseError):
    """The receipt kept for a file does not prove, read again now, that the collector has stored it."""

    code = "receipt-unproven"


class LogHaltedError(ReleaseError):
    """The log contradicted itself: its receipts count for nothing until a person has looked."""

    code = "log-halted"


class IntentRefusedError(ReleaseError):
    """The collector refused the intent, so nothing may be erased under it."""

    code = "release-intent-refused"


class ReleaseStoppedError(ReleaseError):
    """The release was told to stop. What was announced stays open and goes on later."""

    code = "release-stopped"
    retryable = True
