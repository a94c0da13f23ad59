"""From receipted files to signed intents: what is to be erased is said before it is done. Blocking code."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from agent.core.release import Hold, ReleaseSettings, decide_hold, may_release
from agent.offload.inventory import Taken
from agent.offload.settings import VisitTools
from agent.release.errors import ReceiptUnprovenError
from agent.release.proofs import Proofs
from agent.spool.records import ReleaseCandidate
from firmware_profiles.names import claims_from_path
from protocol.digest import Digest
from protocol.statements import ReleaseItem
from protocol.statements.release import MAX_RELEASE_ITEMS

_LOG: Final = logging.getLogger(__name__)

MAX_INTENTS: Final = 50
"""Announced at once, and then erased under one writable mount and one new inventory: 10,000 files. More would only
need more memory."""

_PAGE_ROWS: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """For how many files intents were signed, and for which, by manifest, the kept receipt proved nothing."""

    files: int
    unproven: Mapping[Digest, ReceiptUnprovenError]


def look_for_hold(taken: Taken, tools: VisitTools, settings: ReleaseSettings) -> Hold | None:
    """Why nothing of this visit may be released now. Raises JournalError."""
    facts = tools.journal.release_facts(taken.visit.visit, taken.inventory)
    allows = taken.subject.profile.release.allowed
    return decide_hold(facts, settings, tools.clock(), family_allows=allows)


def announce(
    taken: Taken,
    tools: VisitTools,
    settings: ReleaseSettings,
    proofs: Proofs,
    given_up: Collection[Digest],
) -> Announced:
    """Sign and journal intents for what may be erased of a visit that is not held, at most ``MAX_INTENTS`` of them.
    ``given_up`` are manifests of files that could not be erased before.

    Raises SpoolError, JournalError.
    """
    items, unproven = [], {}
    for candidate in islice(_due(taken, tools, settings, given_up), MAX_INTENTS * MAX_RELEASE_ITEMS):
        try:
            items.append(_item(candidate, proofs))
        except ReceiptUnprovenError as error:
            unproven[candidate.manifest] = error
    if items:
        intents = [
            tools.testimony.release_intent(taken.visit, taken.inventory, part) for part in _parts(items)
        ]
        tools.journal.record_intents(intents, tools.clock())
        _LOG.info("release announced", extra={"visit": taken.visit.visit, "files": len(items)})
    return Announced(files=len(items), unproven=unproven)


def is_anything_due(
    taken: Taken, tools: VisitTools, settings: ReleaseSettings, given_up: Collection[Digest]
) -> bool:
    """Whether another round has something to do. Raises JournalError."""
    return any(True for _ in _due(taken, tools, settings, given_up))


def _due(
    taken: Taken, tools: VisitTools, settings: ReleaseSettings, given_up: Collection[Digest]
) -> Iterator[ReleaseCandidate]:
    for candidate in _candidates(taken.inventory, tools):
        marked = claims_from_path(taken.subject.profile, candidate.shown, tools.settings.zone).marked
        is_due = may_release(
            receipted_at=candidate.receipted_at, marked=marked, settings=settings, now=tools.clock()
        )
        if is_due and candidate.manifest not in given_up:
            yield candidate


def _item(candidate: ReleaseCandidate, proofs: Proofs) -> ReleaseItem:
    proven = proofs.of(candidate.manifest)
    if proven.digest != candidate.digest:
        raise ReceiptUnprovenError(f"the receipt for {candidate.manifest} is for {proven.digest}")
    return ReleaseItem(
        row=candidate.row,
        manifest=candidate.manifest,
        digest=proven.digest,
        stored_index=proven.stored_index,
    )


def _candidates(inventory: Digest, tools: VisitTools) -> Iterator[ReleaseCandidate]:
    after_row = -1
    while page := tools.journal.release_candidates(inventory, _PAGE_ROWS, after_row=after_row):
        yield from page
        after_row = page[-1].row


def _parts(items: Sequence[ReleaseItem]) -> Iterator[Sequence[ReleaseItem]]:
    for start in range(0, len(items), MAX_RELEASE_ITEMS):
        yield items[start : start + MAX_RELEASE_ITEMS]
