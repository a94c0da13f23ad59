"""The station's secret store in memory."""

from __future__ import annotations

from collections.abc import Mapping

from agent.keys.secrets import Password


class MemorySecrets:
    """Satisfies ``agent.keys.secrets.Secrets``."""

    def __init__(self, passwords: Mapping[str, bytes] | None = None) -> None:
        self._passwords = dict(passwords or {})

    def password(self, family: str) -> Password | None:
        value = self._passwords.get(family)
        return None if value is None else Password(value)
