"""Intake: envelopes in, one signed admission out; the same for MQTT and HTTP.

What cannot be read or is not authenticated is answered and counted. An authenticated refusal (a revoked key, an
agency the station may not speak for) is also recorded in the log, once per statement and reason.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from prometheus_client import Counter

from collector.core.access import StationPrincipal, may_hand_in
from collector.core.admission import Candidate, Known, Refuse
from collector.errors import CollectorError
from collector.log.writer import LogWriter
from collector.sequencer import Sequencer
from collector.voice import Voice
from protocol.admission import Admission, AdmissionResult, sign_admission
from protocol.digest import Digest
from protocol.dsse import Envelope
from protocol.errors import AgencyNotAllowedError, ProtocolError
from protocol.statements import Custody

logger = logging.getLogger(__name__)

_REMEMBERED_REFUSALS: Final = 10_000
"""A station that repeats itself does not fill the log; after a restart a refusal may be recorded once more."""


class Intake:
    """Admits statements on behalf of whoever brings them."""

    def __init__(
        self,
        *,
        sequencer: Sequencer,
        log: LogWriter,
        voice: Voice,
        seed: bytes,
        clock: Callable[[], datetime],
        counter: Counter,
    ) -> None:
        self._sequencer = sequencer
        self._log = log
        self._voice = voice
        self._seed = seed
        self._clock = clock
        self._counter = counter
        self._refusals: OrderedDict[tuple[Digest, str], None] = OrderedDict()

    async def answer(
        self, station: str, envelopes: Sequence[Envelope], *, agencies: frozenset[str] = frozenset()
    ) -> Envelope:
        """Admit each and sign the answer for ``station``, which may also bring what others signed for ``agencies``.
        Never raises for a single bad statement.

        Raises CollectorError (retryable) when the log cannot be written: then nothing is answered at all.
        """
        bearer = StationPrincipal(name=station, agencies=agencies)
        read = await asyncio.to_thread(_read_all, bearer, envelopes)
        candidates = [one for one in read if isinstance(one, Candidate)]
        decisions = iter(await self._sequencer.submit_all(candidates))
        results = [
            await self._result(station, one, next(decisions))
            if isinstance(one, Candidate)
            else self._refused(station, Digest.of(envelope.payload), one)
            for one, envelope in zip(read, envelopes, strict=True)
        ]
        admitted = any(result.outcome == "admitted" for result in results)
        admission = Admission(
            station=station,
            issued_at=self._clock(),
            results=tuple(results),
            checkpoint=self._log.checkpoint_note if admitted else None,
        )
        return sign_admission(admission, self._seed)

    async def _result(self, station: str, candidate: Candidate, decision: Known | Refuse) -> AdmissionResult:
        if isinstance(decision, Known):
            self._counter.labels(kind=candidate.entry.kind, outcome="admitted").inc()
            return AdmissionResult.admitted(candidate.id, decision.index)
        await self._record(station, candidate, decision)
        return self._refused(station, candidate.id, decision.error)

    def _refused(self, station: str, identity: Digest, error: ProtocolError) -> AdmissionResult:
        self._counter.labels(kind="any", outcome=error.code).inc()
        logger.warning("admission.refused station=%s code=%s statement=%s", station, error.code, identity)
        return AdmissionResult.refused(identity, error.code, str(error), retryable=error.retryable)

    async def _record(self, station: str, candidate: Candidate, refusal: Refuse) -> None:
        key = (candidate.id, refusal.error.code)
        if not refusal.authenticated or key in self._refusals:
            return
        self._refusals[key] = None
        if len(self._refusals) > _REMEMBERED_REFUSALS:
            self._refusals.popitem(last=False)
        event = Custody(
            header=self._voice.header(),
            event="refused",
            item=candidate.id,
            item_name=candidate.entry.kind,
            actor=station,
            details={"code": refusal.error.code, "agency": candidate.entry.agency},
        )
        try:
            await self._voice.say(event)
        except (CollectorError, ProtocolError) as error:
            self._refusals.pop(key, None)
            logger.warning("admission.refusal_not_recorded code=%s", error.code)


def _check_bearer(bearer: StationPrincipal, candidate: Candidate) -> None:
    header = candidate.statement.header
    if not may_hand_in(bearer, signer=header.signer, agency=header.agency):
        raise AgencyNotAllowedError(
            f"{bearer.name} may not hand in what {header.signer} signed for agency {header.agency}"
        )
    if header.signer != bearer.name:
        logger.info("admission.handed_in by=%s signer=%s", bearer.name, header.signer)


def _read_all(bearer: StationPrincipal, envelopes: Sequence[Envelope]) -> list[Candidate | ProtocolError]:
    read: list[Candidate | ProtocolError] = []
    for envelope in envelopes:
        try:
            candidate = Candidate.read(envelope)
            _check_bearer(bearer, candidate)
        except ProtocolError as error:
            read.append(error)
        else:
            read.append(candidate)
    return read
