"""Findings explained, and explanations withdrawn: said in the log, once, in the name of whoever answers for it."""

from __future__ import annotations

import asyncio
from typing import Final

from collector.catalogue import Catalogue, RecordedFinding
from collector.catalogue.errors import NotFoundError
from collector.core.access import TokenPrincipal
from collector.core.explanations import Refuse, Said, Wish, Word, decide
from collector.core.findings import ClosedBy
from collector.errors import CollectorError
from collector.voice import Voice
from protocol.digest import Digest
from protocol.statements import Custody

ITEM: Final = "finding"


class ExplanationRefusedError(CollectorError):
    """The finding is not in a state in which this can be said of it."""

    status = 409
    fault = "caller"


class FindingClosedError(ExplanationRefusedError):
    """Evidence has closed it."""

    code = "finding-closed"


class FindingExplainedError(ExplanationRefusedError):
    """Another explanation stands."""

    code = "finding-explained"


class NotExplainedError(ExplanationRefusedError):
    """There is nothing to withdraw."""

    code = "finding-not-explained"


_REFUSALS: Final = {
    error.code: error for error in (FindingClosedError, FindingExplainedError, NotExplainedError)
}


class Explanations:
    """One at a time, so that two who explain at once do not both explain. Whether something was said already is read
    from the log's projection, so that an answer that got lost is given again."""

    def __init__(self, *, catalogue: Catalogue, voice: Voice) -> None:
        self._catalogue = catalogue
        self._voice = voice
        self._turn = asyncio.Lock()

    async def say(
        self, finding: Digest, wish: Wish, speaker: TokenPrincipal, agencies: frozenset[str] | None
    ) -> tuple[Word, bool]:
        """The word in the log, and whether it is new. Raises NotFoundError, ExplanationRefusedError; CollectorError
        (retryable) when the log does not take it."""
        async with self._turn:
            found = await asyncio.to_thread(self._catalogue.finding, finding, agencies)
            if found is None:
                raise NotFoundError("no such finding is known to you")
            words = await asyncio.to_thread(self._catalogue.words_about, finding, found.agency)
            decision = decide(wish, words, closed_by_evidence=found.closed_by is ClosedBy.EVIDENCE)
            if isinstance(decision, Said):
                return decision.word, False
            if isinstance(decision, Refuse):
                raise _REFUSALS[decision.code](decision.message)
            index = await self._voice.say(self._statement(found, wish, speaker))
            words = await asyncio.to_thread(self._catalogue.words_about, finding, found.agency)
            return next(word for word in words if word.index == index), True

    def _statement(self, found: RecordedFinding, wish: Wish, speaker: TokenPrincipal) -> Custody:
        return Custody(
            header=self._voice.header(found.agency),
            event=wish.event,
            item=found.id,
            item_name=ITEM,
            actor=wish.actor,
            details={"finding": str(found.id), "reason": wish.reason, "token": speaker.token_id},
        )
