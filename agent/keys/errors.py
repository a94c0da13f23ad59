"""What can be wrong with the station's key files."""

from __future__ import annotations

from typing import ClassVar

from agent.errors import AgentError


class KeyStoreError(AgentError):
    """The keys cannot be used as they are; nothing is made anew behind the owner's back."""

    code: ClassVar[str] = "key-store"


class KeyFileOpenError(KeyStoreError):
    """A key file can be read or written by others, so the key may have been copied."""

    code: ClassVar[str] = "key-file-open"


class KeyFileDamagedError(KeyStoreError):
    """A stored file is not what it should be."""

    code: ClassVar[str] = "key-file-damaged"


class KeyLostError(KeyStoreError):
    """The station is enrolled but one of its keys is gone: it needs a new enrolment, not a silent new key."""

    code: ClassVar[str] = "key-lost"


class NotEnrolledError(KeyStoreError):
    """The station has no certificate yet."""

    code: ClassVar[str] = "station-not-enrolled"


class SecretsDamagedError(KeyStoreError):
    """The file of passwords does not say what it must say. What it says is never shown."""

    code: ClassVar[str] = "secrets-damaged"
