"""From a volume to a signed, journalled inventory (清点); nothing of a volume is read before. Blocking code.

Also the way back: after a restart of the agent, the open visit of a volume that is still there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from agent.offload.errors import RecorderRefusedError
from agent.offload.settings import VisitTools
from agent.offload.settler import Settler, Subject
from agent.offload.stocktake import Found, Stocktake, known_reads, take_stock
from agent.ports import RecorderVolume
from agent.spool.records import VisitRecord
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


def take_inventory(
    volume: RecorderVolume,
    tools: VisitTools,
    earlier: Taken | None,
    recognised: Callable[[Found], None],
) -> Taken:
    """List the volume, sign the list and journal both; ``earlier`` continues its visit, and comes back unchanged when
    the volume still holds exactly what it lists. ``recognised`` is told as soon as the recorder is known.

    Raises RecorderRefusedError, ProfileError, SpoolError, JournalError and the errors of ``RecorderVolume``.
    """
    with take_stock(volume, tools.registry, tools.settings.zone) as stock:
        recognised(stock.found)
        if earlier is not None and stock.is_as_listed(tools.journal.listed_files(earlier.inventory)):
            return earlier
        visit = _open_visit(stock.found, tools) if earlier is None else earlier.visit
        return _record(stock, visit, 1 if earlier is None else earlier.sequence + 1, tools)


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


def _record(stock: Stocktake, visit: VisitRecord, sequence: int, tools: VisitTools) -> Taken:
    journal, found = tools.journal, stock.found
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
    )
    with journal.naming:
        journal.files.publish([publication])
        inventory = journal.record_inventory(
            envelope,
            visit=visit,
            sequence=sequence,
            listing=listed.digest,
            listing_size_bytes=listed.size_bytes,
            rows=stock.new_rows(),
            now=tools.clock(),
        )
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
            tools.journal.close_visit(visit.visit, tools.clock())
    return found


def _reopen(visit: VisitRecord, tools: VisitTools) -> Taken | None:
    """None, and the visit is closed, when its profile is gone: another profile is another way to see the volume."""
    last = tools.journal.last_inventory(visit.visit)
    profile = next((found for found in tools.registry.profiles if profile_name(found) == visit.profile), None)
    statement = None if last is None else tools.journal.statement(last[0])
    if last is None or profile is None or statement is None:
        tools.journal.close_visit(visit.visit, tools.clock())
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
