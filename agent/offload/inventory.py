"""From a volume to a signed, journalled inventory (清点); nothing of a volume is read before. Blocking code.

Also the way back: after a restart of the agent, the open visit of a volume that is still there.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from agent.core.release import RecorderTraits
from agent.offload.errors import RecorderRefusedError
from agent.offload.settings import VisitTools
from agent.offload.settler import Settler, Subject
from agent.offload.stocktake import Found, Stocktake, known_reads, take_stock
from agent.ports import NOTHING_SAID, DeviceFacts, RecorderVolume
from agent.release.closing import abandon_unbegun, close_interrupted
from agent.spool.records import VisitRecord
from firmware_profiles.identity import DeviceSays
from firmware_profiles.schema import Profile
from protocol.digest import Digest
from protocol.dsse import Envelope
from protocol.statements import Inventory, parse_statement

VANISHED: Final = "file-vanished"
"""Why a row is unreadable whose file was listed once and never read: it went away while its recorder stayed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A visit with its latest inventory, and whose files they are."""

    visit: VisitRecord
    inventory: Digest
    sequence: int
    subject: Subject
    conflicts: tuple[str, ...] = ()


def profile_name(profile: Profile) -> str:
    """How statements name a profile: another version can mean other rules."""
    return f"{profile.id}@{profile.version}"


_LOG: Final = logging.getLogger(__name__)

AfterListing: TypeAlias = Callable[[VisitRecord, Digest], None]
"""Told of a new inventory and its visit inside the transaction that keeps it: what it says belongs into the same."""


def take_inventory(
    volume: RecorderVolume,
    tools: VisitTools,
    earlier: Taken | None,
    recognised: Callable[[Found], None],
    facts: DeviceFacts = NOTHING_SAID,
) -> Taken:
    """List the volume, sign the list and journal both; ``earlier`` continues its visit, and comes back unchanged when
    the volume still holds exactly what it lists. ``recognised`` is told as soon as the recorder is known. Intents of
    earlier visits that this listing settles are closed with it. ``facts`` are what the recorder said at docking.

    Raises RecorderRefusedError, ProfileError, SpoolError, JournalError and the errors of ``RecorderVolume``.
    """
    with _stock(volume, tools, earlier, facts) as stock:
        found = _with_claims(stock.found, earlier)
        recognised(found)
        if earlier is not None:
            if stock.is_as_listed(tools.journal.listed_files(earlier.inventory)):
                return earlier
            return _record(stock, found, earlier.visit, earlier.sequence + 1, tools)
        traits = RecorderTraits(
            key=found.recorder_key, label=found.identity.label, total_bytes=found.identity.total_bytes
        )
        settle = functools.partial(close_interrupted, traits=traits, tools=tools)
        return _record(stock, found, _open_visit(found, tools), 1, tools, settle, facts)


def take_inventory_after(
    volume: RecorderVolume, tools: VisitTools, earlier: Taken, after_listing: AfterListing
) -> Taken:
    """The inventory after files were erased: always a new one, also when nothing seems to have changed. Raises as
    ``take_inventory``."""
    with _stock(volume, tools, earlier) as stock:
        found = _with_claims(stock.found, earlier)
        return _record(stock, found, earlier.visit, earlier.sequence + 1, tools, after_listing)


def _stock(
    volume: RecorderVolume, tools: VisitTools, earlier: Taken | None, facts: DeviceFacts = NOTHING_SAID
) -> AbstractContextManager[Stocktake]:
    """A visit keeps its profile: without its clips a recorder may look like another family. One that answered the
    questions of a family is of that family, whatever its files look like."""
    profile = tools.registry.of_family(facts.family) if earlier is None else earlier.subject.profile
    says = DeviceSays(recorder=facts.recorder, officer=facts.officer)
    return take_stock(volume, tools.registry, tools.settings.zone, profile, says)


def _with_claims(found: Found, earlier: Taken | None) -> Found:
    """Within a visit it is the same recorder, also when no name says so any more."""
    if earlier is None:
        return found
    return replace(
        found,
        recorder=found.recorder or earlier.subject.recorder,
        officer=found.officer or earlier.subject.officer,
    )


def _open_visit(found: Found, tools: VisitTools) -> VisitRecord:
    agency = tools.testimony.signer.agency_for(found.recorder)
    if agency is None:
        name = "without a number" if found.recorder is None else found.recorder.value
        raise RecorderRefusedError(f"the station may not speak for any agency that holds the recorder {name}")
    return VisitRecord(
        visit=tools.new_id(),
        dock=found.identity.dock,
        bay=found.identity.bay,
        generation=found.identity.generation,
        recorder_key=found.recorder_key,
        profile=profile_name(found.profile),
        agency=agency,
        opened_at=tools.clock(),
    )


def _record(
    stock: Stocktake,
    found: Found,
    visit: VisitRecord,
    sequence: int,
    tools: VisitTools,
    after_listing: AfterListing = lambda *_: None,
    facts: DeviceFacts = NOTHING_SAID,
) -> Taken:
    journal = tools.journal
    listed, publication = stock.write_listing(
        journal.files, tools.new_id(), recorder_key=visit.recorder_key, known=known_reads(journal)
    )
    envelope = tools.testimony.inventory(
        visit,
        sequence,
        volume=found.identity,
        listed=listed,
        recorder=found.recorder,
        officer=found.officer,
        facts=facts,
    )
    with journal.naming:
        journal.files.publish([publication])
        with journal.transaction():
            inventory = journal.record_inventory(
                envelope,
                visit=visit,
                sequence=sequence,
                listing=listed.digest,
                listing_size_bytes=listed.size_bytes,
                rows=stock.new_rows(),
                now=tools.clock(),
            )
            after_listing(visit, inventory)
    if found.conflicts:  # whose numbers they are is nobody's business who reads logs
        roles = ",".join(note.partition(":")[0] for note in found.conflicts)
        _LOG.warning("sources disagree", extra={"visit": visit.visit, "bay": visit.bay, "about": roles})
    subject = Subject(profile=found.profile, recorder=found.recorder, officer=found.officer)
    return Taken(
        visit=visit, inventory=inventory, sequence=sequence, subject=subject, conflicts=found.conflicts
    )


def find_open_visit(volume: RecorderVolume, tools: VisitTools) -> Taken | None:
    """The visit this volume is in the middle of, if the agent was restarted while it stayed. Open visits of other
    volumes at this bay are closed: their recorders have left.

    Raises JournalError and the errors of ``RecorderVolume``.
    """
    identity = volume.identify()
    found: Taken | None = None
    for visit in tools.journal.open_visits():
        if (visit.dock, visit.bay) != (identity.dock, identity.bay):
            continue
        if visit.generation == identity.generation:
            found = _reopen(visit, tools)
        else:
            close_visit(visit, tools)
    return found


def close_visit(visit: VisitRecord, tools: VisitTools) -> None:
    """The recorder has left: what was only announced is not going to be erased. Raises JournalError."""
    with tools.journal.transaction():
        abandon_unbegun(visit.visit, tools)
        tools.journal.close_visit(visit.visit, tools.clock())


def _reopen(visit: VisitRecord, tools: VisitTools) -> Taken | None:
    """None, and the visit is closed, when its profile is gone: another profile is another way to see the volume."""
    last = tools.journal.last_inventory(visit.visit)
    profile = next((found for found in tools.registry.profiles if profile_name(found) == visit.profile), None)
    statement = None if last is None else tools.journal.statement(last[0])
    if last is None or profile is None or statement is None:
        close_visit(visit, tools)
        return None
    inventory = parse_statement(Envelope.from_bytes(statement).payload)
    if not isinstance(inventory, Inventory):
        raise TypeError(f"{last[0]} is journalled as an inventory and is none")
    subject = Subject(profile=profile, recorder=inventory.recorder, officer=inventory.officer)
    return Taken(visit=visit, inventory=last[0], sequence=last[1], subject=subject)


def sign_off_missing(taken: Taken, tools: VisitTools, settler: Settler) -> int:
    """Sign "unreadable" for files that an earlier inventory of the visit promised and that are gone. How many."""
    missing = tools.journal.rows_missing(taken.visit.visit, taken.inventory)
    for row in missing:
        settler.give_up(row, code=VANISHED, error=None, failures=0)
    return len(missing)
