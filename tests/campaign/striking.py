"""Faults that have a time instead of a step: what happens to recorders, disks, clocks, and the way to the collector."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from random import Random

from tests.campaign.plan import ACTS, MQTT_ACTS, NET_ACTS, Fault, Kind
from tests.campaign.recorders import Recorder
from tests.campaign.world import World


class Striker:
    """Strikes at one world."""

    def __init__(self, world: World, rng: Random, stations: tuple[str, ...]) -> None:
        self.world = world
        self.plan = world.plan
        self._rng = rng
        self._stations = stations

    async def strike(self, fault: Fault) -> None:
        """Faults that have a time instead of a step."""
        world, machine = self.world, self.world.machines[fault.machine]
        if fault.at or fault.kind in (*ACTS, *NET_ACTS, *MQTT_ACTS, Kind.PULLED_AT_RELEASE):
            return
        await asyncio.sleep(fault.at_s)
        recorder = self._rng.choice(world.recorders)
        match fault.kind:
            case Kind.DISK_FULL:
                machine.is_full = True
                self._struck(fault, fault.machine)
                await asyncio.sleep(fault.for_s)
                machine.is_full = False
            case Kind.AWAY:
                world.away.update(world.machines)
                for line in list(world.network.lines):
                    line.silence()
                self._struck(fault, f"for {fault.for_s:.0f} s")
                await asyncio.sleep(fault.for_s)
                world.away.clear()
            case Kind.CLOCK:
                jump = self._rng.choice((-1, 1)) * timedelta(
                    seconds=self._rng.choice((2, 3600, 86_400 * 400))
                )
                machine.offset += jump
                self._struck(fault, f"{fault.machine} by {jump}")
            case Kind.EARLY_PULL:
                await self._pull(fault, recorder)
            case Kind.READ_ERROR:
                self._strain(fault, recorder)
            case Kind.FILE_REPLACED:
                self._replace(fault, recorder)
            case Kind.VOLUME_LOCKED:
                await self._lock(fault, recorder)
            case Kind.FILE_GROWS:
                self._grow(fault, recorder)
            case _:
                raise AssertionError(fault.kind)

    def _struck(self, fault: Fault, where: str) -> None:
        self.plan.strike(fault, where)
        self.world.note(f"{fault.kind.value}: {where}")

    async def _pull(self, fault: Fault, recorder: Recorder) -> None:
        if recorder.place is None:
            return
        self._struck(fault, recorder.name)
        self.world.pull(recorder)
        await asyncio.sleep(fault.for_s)
        if recorder.place is None:
            station = self._rng.choice(self._stations)
            taken = self.world.docks[station].bays
            free = [bay for bay in ("bay-5", "bay-6", "bay-7") if bay not in taken]
            self.world.plug(recorder, station, free[self._rng.randrange(len(free))])

    def _strain(self, fault: Fault, recorder: Recorder) -> None:
        if not recorder.files:
            return
        path = self._rng.choice(sorted(recorder.files))
        found = recorder.files[path]
        found.fails_at[self._rng.randrange(len(found.data) + 1)] = 5
        recorder.strained.add(path)
        self._struck(fault, f"{recorder.name} {path!r}")

    def _replace(self, fault: Fault, recorder: Recorder) -> None:
        """Another clip under an old name, just as large and as old, as after a reset of the recorder's clock. Where
        nothing is released, it is younger: what looks the same in every respect is not read again."""
        if not recorder.files:
            return
        path = self._rng.choice(sorted(recorder.files))
        before = recorder.files[path]
        recorder.put(path, self._rng.randbytes(len(before.data)))
        if self.world.release:
            recorder.files[path].modified_ns = before.modified_ns
            recorder.alike.add(path)
        self._struck(fault, f"{recorder.name} {path!r}")
        if not self.world.release or self._rng.random() < 0.5:
            self.world.changed(recorder)

    async def _lock(self, fault: Fault, recorder: Recorder) -> None:
        volume = recorder.volume
        if volume is None:
            return
        volume.read_only, volume.dirty = self._rng.choice(((True, False), (False, True)))
        self._struck(fault, recorder.name)
        await asyncio.sleep(fault.for_s)
        volume.read_only = volume.dirty = False

    def _grow(self, fault: Fault, recorder: Recorder) -> None:
        if not recorder.files:
            return
        path = self._rng.choice(sorted(recorder.files))
        found = recorder.files[path]
        found.data += b"more"
        found.modified_ns += 3_000_000_000
        recorder.note_growth(path)
        self._struck(fault, f"{recorder.name} {path!r}")
        self.world.changed(recorder)
