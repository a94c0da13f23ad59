"""Release of one visit, step by step, as admissions and receipts come in: announce, wait, erase, list, sign."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping, Sequence
from enum import Enum, auto
from typing import Final

from agent.core.bay import BayEvent
from agent.core.release import HOLDS_ANNOUNCED, Hold
from agent.errors import AgentError
from agent.offload.inventory import Taken
from agent.offload.settings import ReleaseTools, Threads, VisitTools
from agent.offload.tile import Tile
from agent.offload.turns import HubTurns
from agent.ports import RecorderVolume
from agent.release.announcing import announce, is_anything_due, look_for_hold
from agent.release.closing import abandon_unbegun, close_refused
from agent.release.errors import IntentRefusedError, ReceiptUnprovenError
from agent.release.proofs import Proofs
from agent.release.round import run_round
from agent.spool.records import OpenIntent
from agent.volumes.errors import ErasureUnsureError, VolumeVanishedError
from protocol.digest import Digest

_LOG: Final = logging.getLogger(__name__)


class Standing(Enum):
    """Where the release of a visit stands after a look: files or the inventory are not yet receipted; the policy keeps
    it back; it is announced and waits for the collector; files were erased; there is nothing (more) to erase; it
    failed, and ``Releaser.problem`` says why."""

    PENDING = auto()
    HELD = auto()
    WAITING = auto()
    ERASED = auto()
    FINISHED = auto()
    FAILED = auto()


class Releaser:
    """Releases what one visit has read. ``session`` is the visit's unbroken watch over its volume."""

    def __init__(
        self,
        volume: RecorderVolume,
        tile: Tile,
        *,
        tools: VisitTools,
        release: ReleaseTools,
        threads: Threads,
        turns: HubTurns,
        session: str,
    ) -> None:
        self._volume = volume
        self._tile = tile
        self._tools = tools
        self._release = release
        self._threads = threads
        self._turns = turns
        self._session = session
        self._given_up: set[Digest] = set()
        self._doubted: set[Digest] = set()
        self.problem: tuple[str, str] | None = None
        """Code and sentence for a person; nothing more is erased while there is one."""

    def begin_again(self) -> None:
        """The volume's files changed, perhaps by a person who saw to what was wrong."""
        self.problem = None
        self._given_up.clear()

    async def look(self, taken: Taken) -> tuple[Standing, Taken]:
        """Do what can be done now; the newest inventory is another one after an erasing.

        Raises VolumeVanishedError, JournalError; every other trouble becomes ``problem``.
        """
        if self.problem is not None:
            return Standing.FAILED, taken
        try:
            return await self._look(taken)
        except VolumeVanishedError:
            raise
        except AgentError as error:
            await self._take_back(taken, error)
            return Standing.FAILED, taken

    async def _look(self, taken: Taken) -> tuple[Standing, Taken]:
        settings, call = self._release.settings, self._threads.call
        hold = await call(None, look_for_hold, taken, self._tools, settings)
        intents = await call(None, self._open_intents, taken)
        if hold in HOLDS_ANNOUNCED:
            return Standing.PENDING, taken
        if hold is Hold.FAMILY:  # also what an earlier version of the profile let be announced
            return Standing.HELD, taken
        if hold is not None and not intents:
            return (Standing.FINISHED if hold is Hold.NOTHING else Standing.HELD), taken
        proofs = await call(None, Proofs, self._tools.journal, self._release)
        if not intents:
            announced = await call(None, announce, taken, self._tools, settings, proofs, self._given_up)
            if announced.unproven:
                await call(None, self._doubt, announced.unproven)
                self._tools.doorbells.deliveries.ring()
            if announced.files:
                self._tools.doorbells.statements.ring()
                return Standing.WAITING, taken
            return (Standing.PENDING if announced.unproven else Standing.FINISHED), taken
        if any(intent.outcome is None for intent in intents):
            return Standing.WAITING, taken
        await call(None, self._check_admitted, intents)
        return Standing.ERASED, await self._erase(taken, intents, proofs)

    async def is_anything_due(self, taken: Taken) -> bool:
        """Whether another round has something to do."""
        return await self._threads.call(
            None, is_anything_due, taken, self._tools, self._release.settings, self._given_up
        )

    def _doubt(self, unproven: Mapping[Digest, ReceiptUnprovenError]) -> None:
        """A receipt that went bad on our disk is fetched once more. Raises ReceiptUnprovenError for one that was."""
        for manifest, error in unproven.items():
            if manifest in self._doubted:
                raise error
        self._doubted.update(unproven)
        self._tools.journal.doubt_receipts(unproven)
        _LOG.warning("receipts do not verify and are fetched again", extra={"receipts": len(unproven)})

    def _open_intents(self, taken: Taken) -> list[OpenIntent]:
        """Of this visit; and of earlier ones in the same mount, which only a flush can settle. Raises
        ErasureUnsureError when one of them cannot be settled before the volume is mounted anew."""
        visit = taken.visit
        intents = [
            intent
            for intent in self._tools.journal.open_intents()
            if intent.visit == visit.visit
            or (intent.generation == visit.generation and intent.recorder_key == visit.recorder_key)
        ]
        if any(intent.unsure for intent in intents):
            raise ErasureUnsureError("the volume did not confirm an earlier erasure: dock the recorder again")
        return intents

    def _check_admitted(self, intents: Sequence[OpenIntent]) -> None:
        """Raises IntentRefusedError; a refused intent is closed, since nothing may be done under it."""
        refused = [intent for intent in intents if intent.outcome != "admitted"]
        for intent in refused:
            close_refused(intent, IntentRefusedError.code, self._tools)
        if refused:
            raise IntentRefusedError("the collector refused to record what is to be erased")

    async def _erase(self, taken: Taken, intents: Sequence[OpenIntent], proofs: Proofs) -> Taken:
        stop = threading.Event()
        async with self._turns.taken():
            self._tile.step(BayEvent.RELEASE_BEGUN)
            outcome = await self._threads.call(
                stop,
                run_round,
                self._volume,
                taken,
                intents,
                tools=self._tools,
                proofs=proofs,
                session=self._session,
                stop=stop,
            )
        self._tools.doorbells.statements.ring()
        self._tools.doorbells.deliveries.ring()
        self._note_troubles(outcome.troubles)
        return outcome.taken

    def _note_troubles(self, troubles: Mapping[Digest, str]) -> None:
        self._given_up.update(troubles)
        if troubles:
            self._fail(min(troubles.values()), f"{len(troubles)} files could not be erased")

    async def _take_back(self, taken: Taken, error: AgentError) -> None:
        """Nothing more is erased at this visit, unless its files change; what was only announced is taken back."""
        await asyncio.to_thread(abandon_unbegun, taken.visit.visit, self._tools, error.code)
        self._tools.doorbells.statements.ring()
        self._fail(error.code, str(error))

    def _fail(self, code: str, problem: str) -> None:
        _LOG.warning("not released", extra={"bay": self._tile.bay, "code": code})
        self.problem = (code, problem)
