"""What a seed decides beforehand: who has which files and goes where, and which faults are to strike."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Final

from tests.campaign.plan import ACTS, ALL_VERBS, MQTT_ACTS, NET_ACTS, STRIKES_AT, Fault, Kind, Step
from tests.campaign.template import COLLECTOR, STATIONS

SHAPES: Final = 24
"""Scenarios. There are few, so that the number of their steps is soon known; faults and order differ by seed."""

_PHOTOGRAPHED: Final = 5
"""Of so many scenarios, one has many small files as well: enough for groups and bundles."""

_PHOTOGRAPHS: Final = 8
_STEPS_AT_A_PATH: Final = 30
_PLACES_IN_RECOVERY: Final = 4
_AT_STEPS: Final = frozenset({*ACTS, Kind.DISK_FULL}) - {Kind.RECEIPT_DAMAGED}


@dataclass(frozen=True, slots=True)
class Extent:
    """How much there is in a scenario at which a fault can strike: durable steps, writes to the net, messages."""

    steps: Counter[Step] = field(default_factory=Counter)
    writes: int = 0
    messages: int = 0

    def places_for(self, kind: Kind, machine: str) -> Counter[str]:
        """Places in the code at which such a fault can strike, and how often each is come by."""
        verbs = STRIKES_AT.get(kind, ALL_VERBS)
        found = sorted(self.steps.items())
        return Counter(
            {place: count for (where, place, verb), count in found if where == machine and verb in verbs}
        )


@dataclass(frozen=True, slots=True)
class Targets:
    """Which faults a run may choose from, and where they strike if not anywhere."""

    kinds: tuple[Kind, ...] = tuple(Kind)
    machine: str | None = None
    path: str = ""
    """Part of the path of what is changed at the step."""
    place: str = ""
    """The place in the code."""
    then: tuple[Kind, ...] = ()
    """Further faults, each in every run."""


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
            sizes = [_size(rng) for _ in range(1 + rng.randrange(4))]
            if shape % _PHOTOGRAPHED == _PHOTOGRAPHED - 1:
                sizes += [rng.randrange(3000) for _ in range(_PHOTOGRAPHS)]
            own = [
                (_path(place, number, shape % 2), rng.randbytes(size)) for number, size in enumerate(sizes, 2)
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
    chosen = (first, *(rng.choice(kinds) for _ in range(more)), *targets.then)
    faults = [_fault(rng, scenario, kind, extent, targets.machine) for kind in chosen]
    for number, fault in enumerate(faults):
        if targets.path:
            fault.path, fault.at = targets.path, 1 + rng.randrange(_STEPS_AT_A_PATH)
        elif targets.place:
            count = extent.places_for(fault.kind, fault.machine)[targets.place]
            fault.place, fault.at = targets.place, 1 + rng.randrange(max(1, count))
        elif fault.kind in _AT_STEPS and (fault.kind in ACTS or rng.random() < 0.5):
            _choose_step(rng, fault, extent, is_first=number == 0)
    return faults


def _fault(rng: Random, scenario: Scenario, kind: Kind, extent: Extent, target: str | None) -> Fault:
    machine = rng.choice((COLLECTOR, *scenario.stations))
    if kind is Kind.RECEIPT_DAMAGED:
        machine = scenario.stations[0]
    fault = Fault(kind, target or machine, at_s=1 + rng.random() * 12, for_s=1 + rng.random() * 60)
    if kind is Kind.RECEIPT_DAMAGED:
        fault.at = 1 + rng.randrange(3)
    elif kind is Kind.PULLED_AT_RELEASE:
        fault.at = 1 + rng.randrange(4)
    elif kind in NET_ACTS:
        fault.at = 1 + rng.randrange(max(1, extent.writes))
    elif kind in MQTT_ACTS:
        fault.at = 1 + rng.randrange(max(1, extent.messages))
    return fault


def _choose_step(rng: Random, fault: Fault, extent: Extent, *, is_first: bool) -> None:
    """Half of them at any step. The others at any place in the code, however seldom it is come by; those that are not
    a run's first fault perhaps at a place that only those come to who recover from another."""
    places = extent.places_for(fault.kind, fault.machine)
    how = rng.random()
    if not is_first and how < 0.5:
        fault.usual = frozenset(place for _, place, _ in extent.steps)
        fault.at = 1 + rng.randrange(_PLACES_IN_RECOVERY)
    elif how < 0.75 and places:
        fault.place = rng.choice(list(places))
        fault.at = 1 + rng.randrange(places[fault.place])
    else:
        fault.at = 1 + rng.randrange(max(1, places.total()))
