"""A whole site of which one half is real USB: the agent in the guest, the collector on the host beside it."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

import pytest

from protocol.statements import ReleaseIntent
from tests.support.audit import Auditor
from tests.support.guest import inside_mounting, inside_station
from tests.support.guest.boot import Guest
from tests.support.guest.card_images import CARD_BYTES, format_card
from tests.support.guest.recorder import Card, Recorder
from tests.support.processes import AGENCY, STATION, CollectorHost, call

BAYS: Final[Mapping[str, str]] = {"A01": "1-1", "A02": "1-2"}
SETTINGS: Final = """
reserve_mib = 16
families_on = ["ambarella"]

[release]
enabled = true
"""
_WRITING_PORT: Final = "1-3"
"""No bay: recorders are used there."""

_STEP_S: Final = 240.0
"""A recorder's whole stay, on an emulated processor that others use too."""

_POLL_S: Final = 0.5


class GuestStation:
    """What a person at the dock can do and see."""

    def __init__(self, guest: Guest, collector: CollectorHost) -> None:
        self.guest = guest
        self.collector = collector

    @classmethod
    @contextmanager
    def running(cls, guest: Guest, folder: Path) -> Iterator[Self]:
        """Enrolled and at work; both sides are ended on leaving."""
        collector = CollectorHost(folder / "collector", known_as=[inside_station.HOST])
        try:
            collector.start()
            station = cls(guest, collector)
            station._prepare()
            bays = "[bays]\n" + "".join(f'{name} = "{port}"\n' for name, port in BAYS.items())
            code = collector.enrolment_code(STATION, AGENCY)
            guest.call(inside_station.enrol, code, {"agent.toml": SETTINGS, "bays.toml": bays})
            guest.call(inside_station.start)
            yield station
            assert guest.call(inside_station.end) == 0
        finally:
            collector.child.make_sure_it_ended()
            print(collector.child.last_words())

    def power_on(self) -> None:
        """After a power cut, as the machine does by itself."""
        self.guest.power_on()
        self._prepare()
        self.guest.call(inside_station.start)

    def _prepare(self) -> None:
        self.guest.call(inside_mounting.start_helper, list(BAYS.values()))
        self.guest.call(inside_station.join_network)
        self.guest.call(inside_station.mount_disk)

    def card_with(
        self,
        image: Path,
        fs_type: str,
        files: Mapping[str, bytes],
        *,
        dirty: bool = False,
        size_bytes: int = CARD_BYTES,
    ) -> Card:
        """A card as a recorder leaves it; ``dirty``: as one leaves it whose battery ended while it recorded."""
        format_card(image, fs_type, size_bytes=size_bytes)
        with self._used(image) as node:
            shown = {name: data.hex() for name, data in files.items()}
            self.guest.call(inside_mounting.write_as_a_recorder, node, fs_type, shown)
            if dirty:
                self.guest.call(inside_mounting.begin_to_record, node, fs_type)
        if dirty:
            self.guest.call(inside_mounting.leave_the_card)
        self.guest.call(inside_mounting.gone, _WRITING_PORT)
        return Card(image)

    def fill(self, card: Card, fs_type: str, name: str) -> str:
        """Record into a further file until the card is full; its digest."""
        with self._used(card.image) as node:
            digest: str = self.guest.call(inside_mounting.fill_as_a_recorder, node, fs_type, name)
        self.guest.call(inside_mounting.gone, _WRITING_PORT)
        return digest

    @contextmanager
    def _used(self, image: Path) -> Iterator[str]:
        """The card in a recorder that is in use; its device there."""
        recorder = Recorder(Card(image))
        recorder.plug(self.guest, int(_WRITING_PORT.removeprefix("1-")))
        try:
            (volume,) = self.guest.call(inside_mounting.volumes, _WRITING_PORT)
            yield volume["node"]
        finally:
            recorder.pull()

    def wait_for(self, bay: str, states: Collection[str]) -> Mapping[str, Any]:
        """The tile, once it is in one of these states."""
        deadline = time.monotonic() + _STEP_S
        while True:
            tile: Mapping[str, Any] = self.guest.call(inside_station.bay, bay)
            if tile.get("state") in states:
                return tile
            if time.monotonic() > deadline:
                pytest.fail(f"bay {bay} shows {tile}, not {states}: {self.guest.call(inside_station.log)}")
            time.sleep(_POLL_S)

    def wait_until_idle(self) -> None:
        """Until it owes the collector nothing and has nothing to render."""
        deadline = time.monotonic() + _STEP_S
        while any(backlog := self.guest.call(inside_station.backlog)):
            if time.monotonic() > deadline:
                pytest.fail(f"still to do: {backlog}: {self.guest.call(inside_station.log)}")
            time.sleep(_POLL_S)

    def plug(self, recorder: Recorder, bay: str) -> None:
        recorder.plug(self.guest, int(BAYS[bay].removeprefix("1-")))

    @contextmanager
    def docked(self, recorder: Recorder, bay: str) -> Iterator[None]:
        """For a while. What the station logged is shown when something goes wrong meanwhile."""
        self.plug(recorder, bay)
        try:
            yield
        except BaseException:
            print(self.guest.call(inside_station.log))
            raise
        finally:
            recorder.pull()

    def intents(self) -> int:
        """How many release intents the log holds."""
        said = Auditor(self.collector.config.log_dir, self.collector.config.objects_dir).said
        return sum(isinstance(each.statement, ReleaseIntent) for each in said)

    def audit(self) -> Mapping[str, Any]:
        return call("zhilu-collector", "audit", "--data", str(self.collector.folder))
