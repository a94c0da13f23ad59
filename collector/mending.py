"""Objects that are missing or altered, said so in the log, and made whole again when their bytes come once more.

The damaged file is never overwritten: it is set aside, and what takes its place is linked, re-read and compared like
every object (``collector.storing``). Only then the log says that it is whole.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from collector.catalogue import Catalogue
from collector.core.findings import OBJECT_ALTERED, OBJECT_MISSING
from collector.errors import ObjectCorruptError, ObjectMissingError, StorageError, is_lost_sector
from collector.objects import ObjectStore, Place
from collector.voice import Voice
from protocol.errors import ProtocolError
from protocol.ids import COLLECTOR
from protocol.statements import Custody

logger = logging.getLogger(__name__)

DAMAGED: Final = "damaged"
REPAIRED: Final = "repaired"

_LOOKS: Final = 2


class Mender:
    """Keeps nothing: what is damaged, the log tells. Raises CollectorError where it could not be said or done."""

    def __init__(self, *, objects: ObjectStore, catalogue: Catalogue, voice: Voice) -> None:
        self._objects = objects
        self._catalogue = catalogue
        self._voice = voice

    async def judge(self, place: Place) -> str | None:
        """The code of what is wrong with the object; None if it is whole, and then its name is durable too. A disk that
        cannot read it is asked twice, for what it cannot read then is not what was stored."""
        for _ in range(_LOOKS):
            try:
                await self._objects.confirm(*place)
            except ObjectMissingError:
                return OBJECT_MISSING
            except ObjectCorruptError:
                return OBJECT_ALTERED
            except StorageError as error:
                if not is_lost_sector(error):
                    raise
            else:
                return None
        return OBJECT_ALTERED

    async def look_at(self, place: Place) -> bool:
        """Judge the object and have the log say what is new of it; whether it is whole."""
        damage = await self.judge(place)
        if damage is None:
            await self.made_whole([place])
        else:
            await self.report(place, damage)
        return damage is None

    async def report(self, place: Place, code: str) -> None:
        """The object is missing or altered. Said once, until it is whole again."""
        if not await self.known_damaged([place]):
            logger.error("objects.damaged code=%s class=%s digest=%s", code, place[1], place[2])
            await self._say(place, DAMAGED, {"code": code})

    async def made_whole(self, places: Sequence[Place]) -> None:
        """These are what they should be, durable and re-read: those that were damaged no longer are."""
        for place in sorted(await self.known_damaged(places)):
            logger.warning("objects.repaired class=%s digest=%s", place[1], place[2])
            await self._say(place, REPAIRED, {})

    async def known_damaged(self, places: Sequence[Place]) -> set[Place]:
        """Those of which the log says that they are damaged."""
        return await asyncio.to_thread(self._catalogue.damaged_objects, places) if places else set()

    async def set_aside(self, place: Place) -> None:
        """An object that is surely not what it was makes room for one that is. Only while its bytes are at hand."""
        await self.report(place, OBJECT_ALTERED)
        await self._objects.set_aside(*place)

    async def _say(self, place: Place, event: str, details: dict[str, str | int]) -> None:
        agency, cls, digest = place
        statement = Custody(
            header=self._voice.header(agency),
            event=event,
            item=digest,
            item_name=cls.value,
            actor=COLLECTOR,
            details=details,
        )
        try:
            await self._voice.say(statement)
        except ProtocolError as error:
            raise RuntimeError("the log refuses what its collector says of its own objects") from error
