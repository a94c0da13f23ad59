"""What a seed decides beforehand: who has which files and goes where, and which faults are to strike."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Final

from tests.campaign.acts import Verb
from tests.campaign.plan import ACTS, MQTT_ACTS, NET_ACTS, STRIKES_AT, Fault, Kind
from tests.campaign.template import COLLECTOR, STATIONS

SHAPES: Final = 24
"""Scenarios. There are few, so that the number of their steps is soon known; faults and order differ by seed."""

_STEPS_AT_A_PATH: Final = 30


@dataclass(frozen=True, slots=True)
class Extent:
    """How much there is in a scenario at which a fault can strike: durable steps, writes to the net, messages."""

    steps: Counter[tuple[str, Verb]] = field(default_factory=Counter)
    writes: int = 0
    messages: int = 0

    def steps_for(self, kind: Kind, machine: str) -> int:
        verbs = STRIKES_AT.get(kind, frozenset(Verb))
        return sum(count for (where, verb), count in self.steps.items() if where == machine and verb in verbs)


@dataclass(frozen=True, slots=True)
class Targets:
    """Which faults a run may choose from, and where they strike if not anywhere."""

    kinds: tuple[Kind, ...] = tuple(Kind)
    machine: str | None = None
    path: str = ""
    """Part of the path of what is changed at the step."""


@dataclass(frozen=True, slots=True)
class Stay:
    """A recorder's stay at a bay: from when, and until when if it is pulled."""

    recorder: int
    station: str
    bay: str
    from_s: float
    until_s: float | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """Who has which files and goes where."""

    stations: tuple[str, ...]
    files: tuple[tuple[tuple[bytes, bytes], ...], ...]
    stays: tuple[Stay, ...]

    @classmethod
    def of(cls, shape: int) -> Scenario:
        rng = Random(f"shape {shape}")
        stations = STATIONS if shape % 4 == 3 else STATIONS[:1]
        recorders = 1 + (shape % 3 > 0)
        shared = (b"DCIM/100MEDIA/IMAG0001.MP4", rng.randbytes(_size(rng)))
        files = []
        for place in range(recorders):
            count = 1 + rng.randrange(4)
            own = [
                (_path(place, number, shape % 2), rng.randbytes(_size(rng))) for number in range(2, 2 + count)
            ]
            files.append((shared, *own) if len(stations) > 1 else tuple(own))
        stays = tuple(
            Stay(number, stations[number % len(stations)], f"bay-{1 + number}", 1 + rng.random() * 3)
            for number in range(recorders)
        )
        return cls(stations, tuple(files), stays)


def _path(recorder: int, number: int, by_rule: int) -> bytes:
    if by_rule:
        return f"CAM000{recorder}_00012{recorder}_202601310815{number:02}.mp4".encode()
    return f"DCIM/100MEDIA/IMAG{number:04}.{'JPG' if number % 3 == 0 else 'MP4'}".encode()


def _size(rng: Random) -> int:
    return rng.choice((0, 1, 700, 4096, 7000, 9000, 30_000, 60_000, 100_000))


def choose_faults(
    seed: int, rng: Random, scenario: Scenario, extent: Extent, targets: Targets
) -> list[Fault]:
    """The first kind goes round with the seed, so that all have their turn; others may come with it."""
    kinds = targets.kinds
    first = kinds[(seed + seed // (11 * SHAPES)) % len(kinds)]
    more = rng.choice((0, 0, 1, 1, 2))
    chosen = (first, *(rng.choice(kinds) for _ in range(more)))
    faults = [_fault(rng, scenario, kind, extent, targets.machine) for kind in chosen]
    for fault in faults:
        if targets.path:
            fault.path, fault.at = targets.path, 1 + rng.randrange(_STEPS_AT_A_PATH)
    return faults


def _fault(rng: Random, scenario: Scenario, kind: Kind, extent: Extent, target: str | None) -> Fault:
    machine = rng.choice((COLLECTOR, *scenario.stations))
    if kind is Kind.RECEIPT_DAMAGED:
        machine = scenario.stations[0]
    machine = target or machine
    fault = Fault(kind, machine, at_s=1 + rng.random() * 12, for_s=1 + rng.random() * 60)
    if kind in ACTS:
        fault.at = 1 + rng.randrange(max(1, extent.steps_for(kind, machine)))
        if kind is Kind.RECEIPT_DAMAGED:
            fault.at = 1 + rng.randrange(3)
    elif kind is Kind.PULLED_AT_RELEASE:
        fault.at = 1 + rng.randrange(4)
    elif kind in NET_ACTS:
        fault.at = 1 + rng.randrange(max(1, extent.writes))
    elif kind in MQTT_ACTS:
        fault.at = 1 + rng.randrange(max(1, extent.messages))
    return fault
