"""Who may use the broker follows what the log says: after an enrolment or a revocation the broker is told anew.

Until it is, a new station is refused by the broker (and delivers over HTTP), and a revoked one may still say and hear
what it could before; what it says is refused at admission all the same.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from collector.broker.mosquitto_config import StationAccess
from collector.catalogue import Catalogue, LoggedStatement
from collector.errors import CollectorError
from protocol.enrolment import certificate_name
from protocol.statements import Enrolled, Revoked

RETRY_S: Final = 5.0

logger = logging.getLogger(__name__)

GiveAccess = Callable[[Sequence[StationAccess]], Awaitable[None]]
"""Tells the broker; may raise OSError."""


class BrokerAccess:
    """``refresh`` once before the broker starts, ``run`` while it works, ``committed`` for every batch of the log."""

    def __init__(self, catalogue: Catalogue, give: GiveAccess, *, retry_s: float = RETRY_S) -> None:
        self._catalogue = catalogue
        self._give = give
        self._retry_s = retry_s
        self._due = asyncio.Event()

    def committed(self, batch: Sequence[LoggedStatement]) -> None:
        """Does not block."""
        if any(isinstance(logged.statement, Enrolled | Revoked) for logged in batch):
            self._due.set()

    async def refresh(self) -> None:
        """Raises OSError, CollectorError."""
        keys = await asyncio.to_thread(self._catalogue.station_keys)
        await self._give(
            [
                StationAccess(
                    certificate=certificate_name(key.key_id), station=key.name, agencies=key.agencies
                )
                for key in keys
            ]
        )

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._due.wait()
            self._due.clear()
            try:
                await self.refresh()
            except (OSError, CollectorError) as error:
                logger.warning("broker.access_not_given reason=%s", error)
                self._due.set()
                await asyncio.sleep(self._retry_s)
