"""What a USB bay does from plugging in to storage that can be read (接入). Pure: looks and answers come in, with the
time; the new state and what to do come out.

A bay is a port, and the machine knows it by looking: each look shows the device at the port and the volumes behind
it. A recorder that has to be talked into showing its storage leaves and comes back as another device; while that is
expected, its absence is not a departure. Every state can be left by pulling the recorder out, and every wait ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, TypeAlias

from agent.errors import AgentError
from agent.ports import NOTHING_SAID, DeviceFacts
from agent.usb.ports import DeviceSeen, VolumeSeen

NO_STORAGE: Final = "no-storage"
NOT_SWITCHED: Final = "switch-failed"
RESTLESS: Final = "device-restless"

STORAGE_WAIT_S: Final = 45.0
"""From a device's arrival to its first file system: a card that is checked by its recorder first may take half a
minute, spinning up and partition scan a few seconds."""

QUIET_S: Final = 1.5
"""Volumes of one device appear one after the other; this long nothing new means that these are all."""

MAX_RETURNS: Final = 5
"""Enumerations at one port within ``RETURNS_WITHIN_S`` that nobody asked for: then it is a bad plug, not a visit."""

RETURNS_WITHIN_S: Final = 60.0


RETRY_S: Final = 30.0
"""After a trouble that may pass by itself."""


class Stage(StrEnum):
    """Where a bay is (阶段)."""

    EMPTY = "empty"
    TALKING = "talking"
    SWITCHING = "switching"
    AWAITING_STORAGE = "awaiting-storage"
    MOUNTING = "mounting"
    MOUNTED = "mounted"
    TROUBLED = "troubled"


_WANTS_VOLUMES: Final = frozenset({Stage.AWAITING_STORAGE, Stage.MOUNTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why a bay cannot go on. ``retry_after_s`` is set where trying again without a person can help."""

    code: str
    detail: str
    retry_after_s: float | None = None


def trouble_of(error: AgentError) -> Trouble:
    """Tried again by itself only where that may help without a person."""
    return Trouble(code=error.code, detail=str(error), retry_after_s=RETRY_S if error.retryable else None)


@dataclass(frozen=True, slots=True)
class Ready:
    """The device shows its storage, or is about to, without leaving the bus."""

    facts: DeviceFacts


@dataclass(frozen=True, slots=True)
class Switched:
    """The device was told to come back with storage, at this port, within so many seconds."""

    facts: DeviceFacts
    within_s: float


Answer: TypeAlias = Ready | Switched | Trouble
"""What a conversation with a device came to."""


@dataclass(frozen=True, slots=True)
class Talk:
    """Find out what the device is, and make it show its storage."""

    device: DeviceSeen


@dataclass(frozen=True, slots=True)
class Mount:
    """Mount these volumes, in addition to those that are."""

    volumes: tuple[VolumeSeen, ...]


@dataclass(frozen=True, slots=True)
class Withdraw:
    """These volumes are gone: tell, and unmount."""

    volumes: tuple[VolumeSeen, ...]


@dataclass(frozen=True, slots=True)
class Leave:
    """Nothing is at the bay any more: tell, and unmount whatever may be left."""


Action: TypeAlias = Talk | Mount | Withdraw | Leave


@dataclass(frozen=True, slots=True, kw_only=True)
class Docking:
    """One bay. Times in seconds of a clock that only goes forward; ``until_s`` ends the wait of the stage."""

    stage: Stage = Stage.EMPTY
    generation: str | None = None
    facts: DeviceFacts = NOTHING_SAID
    trouble: Trouble | None = None
    until_s: float | None = None
    seen: tuple[VolumeSeen, ...] = ()
    seen_since_s: float = 0.0
    mounted: tuple[VolumeSeen, ...] = ()
    unmountable: tuple[VolumeSeen, ...] = ()
    arrivals_s: tuple[float, ...] = ()

    @property
    def new_volumes(self) -> tuple[VolumeSeen, ...]:
        """What is there and was not tried yet."""
        tried = {*self.mounted, *self.unmountable}
        return tuple(volume for volume in self.seen if volume not in tried)

    @property
    def due_s(self) -> float | None:
        """When a look is needed even if nothing happens; None while only an event can change anything."""
        quiet_s = self.seen_since_s + QUIET_S if self.stage in _WANTS_VOLUMES and self.new_volumes else None
        times = [moment for moment in (self.until_s, quiet_s) if moment is not None]
        return min(times, default=None)


Step: TypeAlias = tuple[Docking, tuple[Action, ...]]


def look(state: Docking, device: DeviceSeen | None, volumes: Sequence[VolumeSeen], now_s: float) -> Step:
    """Take in what is at the port now."""
    if device is None:
        return _absent(state, now_s)
    if device.generation != state.generation:
        return _arrived(state, device, now_s)
    state = _with_volumes(state, tuple(volumes), now_s)
    match state.stage:
        case Stage.SWITCHING:
            return _still_switching(state, now_s)
        case Stage.AWAITING_STORAGE:
            return _awaiting(state, now_s)
        case Stage.MOUNTED:
            return _changed_volumes(state, now_s)
        case Stage.TROUBLED if state.until_s is not None and now_s >= state.until_s:
            return _talking(replace(state, unmountable=()), device, now_s)
    return state, ()


def answered(state: Docking, generation: str, answer: Answer, now_s: float) -> Step:
    """Take in what a conversation came to; one with a device that has left meanwhile says nothing any more."""
    if state.stage is not Stage.TALKING or generation != state.generation:
        return state, ()
    match answer:
        case Trouble():
            return _troubled(state, answer, now_s), ()
        case Ready(facts):
            return _await_storage(replace(state, facts=facts), now_s), ()
        case Switched(facts, within_s):
            return replace(state, stage=Stage.SWITCHING, facts=facts, until_s=now_s + within_s), ()


def mounted(
    state: Docking,
    generation: str,
    volumes: Sequence[VolumeSeen],
    troubles: Mapping[VolumeSeen, Trouble],
    now_s: float,
) -> Step:
    """Take in what mounting came to: those that are mounted, and what was wrong with each of the others. One volume
    that can be read is worth more than a trouble with another; with none the first trouble is the bay's."""
    if state.stage is not Stage.MOUNTING or generation != state.generation:
        return state, (Withdraw(tuple(volumes)),) if volumes else ()
    after = replace(
        state,
        mounted=(*state.mounted, *volumes),
        unmountable=(*state.unmountable, *troubles),
        until_s=None,
    )
    if after.mounted:
        return replace(after, stage=Stage.MOUNTED), ()
    return _troubled(after, next(iter(troubles.values())), now_s), ()


def give_up(state: Docking, trouble: Trouble, now_s: float) -> Step:
    """After a mistake of ours at this bay: it lets go of what it has, and others go on."""
    held = (*state.mounted, *state.unmountable)
    left = replace(state, mounted=(), unmountable=())
    return _troubled(left, trouble, now_s), (Withdraw(held),) if held else ()


def _absent(state: Docking, now_s: float) -> Step:
    if state.stage is Stage.EMPTY:
        return state, ()
    if state.stage is Stage.SWITCHING and state.until_s is not None and now_s < state.until_s:
        return replace(state, seen=()), ()
    if state.stage is Stage.SWITCHING:
        lost = Trouble(code=NOT_SWITCHED, detail="told to show its storage, the recorder did not come back")
        return replace(_troubled(state, lost, now_s), generation=None, seen=()), ()
    if state.stage is Stage.TROUBLED and state.generation is None:
        return state, ()
    return Docking(arrivals_s=state.arrivals_s), (Leave(),)


def _arrived(state: Docking, device: DeviceSeen, now_s: float) -> Step:
    arrivals_s = (*(at_s for at_s in state.arrivals_s if now_s - at_s < RETURNS_WITHIN_S), now_s)
    if state.stage is Stage.SWITCHING:
        back = replace(state, generation=device.generation, seen=(), seen_since_s=now_s)
        return _await_storage(back, now_s), ()
    leave: tuple[Action, ...] = () if state.stage is Stage.EMPTY else (Leave(),)
    fresh = Docking(generation=device.generation, arrivals_s=arrivals_s, seen_since_s=now_s)
    if len(arrivals_s) > MAX_RETURNS:
        restless = Trouble(
            code=RESTLESS,
            detail=f"{len(arrivals_s)} arrivals within {RETURNS_WITHIN_S:.0f} s",
            retry_after_s=RETURNS_WITHIN_S,
        )
        return _troubled(fresh, restless, now_s), leave
    state, actions = _talking(fresh, device, now_s)
    return state, (*leave, *actions)


def _talking(state: Docking, device: DeviceSeen, now_s: float) -> Step:
    return replace(state, stage=Stage.TALKING, trouble=None, until_s=None), (Talk(device),)


def _await_storage(state: Docking, now_s: float) -> Docking:
    return replace(state, stage=Stage.AWAITING_STORAGE, until_s=now_s + STORAGE_WAIT_S)


def _with_volumes(state: Docking, volumes: tuple[VolumeSeen, ...], now_s: float) -> Docking:
    return replace(state, seen=volumes, seen_since_s=state.seen_since_s if volumes == state.seen else now_s)


def _still_switching(state: Docking, now_s: float) -> Step:
    """It was told to come back as something else and is still what it was."""
    if state.until_s is None or now_s < state.until_s:
        return state, ()
    stayed = Trouble(code=NOT_SWITCHED, detail="told to show its storage, the recorder stayed as it was")
    return _troubled(state, stayed, now_s), ()


def _awaiting(state: Docking, now_s: float) -> Step:
    new = state.new_volumes
    if new and now_s - state.seen_since_s >= QUIET_S:
        return replace(state, stage=Stage.MOUNTING, until_s=None), (Mount(new),)
    if new or state.until_s is None or now_s < state.until_s:
        return state, ()
    return _troubled(
        state, Trouble(code=NO_STORAGE, detail="no file system showed itself in time"), now_s
    ), ()


def _changed_volumes(state: Docking, now_s: float) -> Step:
    """A card was pulled or put in while its recorder or reader stayed."""
    gone = tuple(volume for volume in (*state.mounted, *state.unmountable) if volume not in state.seen)
    if gone:
        after = replace(
            state,
            mounted=tuple(volume for volume in state.mounted if volume in state.seen),
            unmountable=tuple(volume for volume in state.unmountable if volume in state.seen),
        )
        return (after if after.mounted else _await_storage(after, now_s)), (Withdraw(gone),)
    if state.new_volumes and now_s - state.seen_since_s >= QUIET_S:
        return replace(state, stage=Stage.MOUNTING), (Mount(state.new_volumes),)
    return state, ()


def _troubled(state: Docking, trouble: Trouble, now_s: float) -> Docking:
    until_s = None if trouble.retry_after_s is None else now_s + trouble.retry_after_s
    return replace(state, stage=Stage.TROUBLED, trouble=trouble, until_s=until_s)
