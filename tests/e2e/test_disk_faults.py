"""Real agent and collector on a file system that fails: does everything docked arrive once, whole, when it has healed?

Both work on one mount of ``tests.support.fault_fs``. After each round the faults end, whoever gave up is started again,
and everything docked so far must be delivered; at the end the whole site is audited.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.audit import Auditor, audit_site
from tests.support.cards import MIB, files_of, make_card
from tests.support.fault_fs import Fault, FaultFs, fault_fs, needs_fuse
from tests.support.processes import Site, needs_site, open_site, wait_until

pytestmark = [pytest.mark.e2e, needs_site, needs_fuse()]

SIZES = [3 * MIB + 17, 400_000, 0, 90_000]
"""One file that is read on its own, small ones that are read together, one without bytes."""


@dataclass
class Ward:
    """A site on the failing disk, and all that was ever docked."""

    site: Site
    fs: FaultFs
    folder: Path
    docked: Counter[tuple[str, str]] = field(default_factory=Counter)

    def dock(self) -> str:
        number = len(self.site.station.bays)
        card = make_card(self.folder / f"card-{number}", SIZES, seed=number, recorder=f"ZFY{number:04}")
        self.docked += files_of(card)
        return self.site.station.dock(card)

    def recover(self) -> None:
        """The disk is well again; who ended is started again; everything is delivered."""
        self.fs.heal()
        self.restart_the_dead()
        wait_until(self._is_done, "everything is delivered", deadline_s=240)
        config = self.site.collector.config
        Auditor(config.log_dir, config.objects_dir).check_each_file_once(self.docked)

    def restart_the_collector(self) -> None:
        """What could not be cleared away on a disk that was gone is cleared away at a start."""
        self.fs.heal()
        if self.site.collector.child.is_running:
            self.site.collector.child.end()
        self.site.collector.start()

    def restart_the_dead(self) -> None:
        if not self.site.collector.child.is_running:
            self.site.collector.start()
        if not self.site.station.child.is_running:
            self.site.station.start()

    def _is_done(self) -> bool:
        """Giving up loudly is right on a failing disk, also a moment after it has healed."""
        self.restart_the_dead()
        return self.site.station.is_done()


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    folder = tmp_path_factory.mktemp("ward")
    with fault_fs(folder / "disk", folder / "mount") as fs, open_site(fs.mount / "site") as site:
        site.start()
        yield Ward(site, fs, folder)


# A fault while the inventory is written makes the bay wait for a minute; where it can, ``after`` lets that pass.
ROUNDS = {
    "the recorder reads badly": [
        Fault("read", "/station/dock/", errno.EIO, times=2),
        Fault("read", "/station/dock/", short=5000, after=6),
        Fault("open", "/station/dock/", errno.EIO, after=5),
    ],
    "the spool is full": [
        Fault("write", "/station/spool/", errno.ENOSPC, after=3, times=3),
        Fault("create", "/station/spool/", errno.ENOSPC, after=4),
    ],
    "the spool writes badly": [
        Fault("write", "/station/spool/", short=4096, after=3, times=2),
        Fault("write", "/station/spool/", errno.EIO, after=8),
        Fault("fsync", "/station/spool/", errno.EIO, after=6, times=2),
    ],
    "the spool names and reads badly": [
        Fault("rename", "/station/spool/", errno.EIO, after=2, times=2),
        Fault("read", "/station/spool/", errno.EIO, after=4, times=2),
    ],
    "the journal cannot be written": [
        Fault("write", "/station/journal.sqlite", errno.EIO, after=14),
        Fault("fsync", "/station/journal.sqlite", errno.EIO, after=6),
    ],
    "the journal is full": [Fault("write", "/station/journal.sqlite", errno.ENOSPC, after=2, times=3)],
    "staging is full": [
        Fault("create", "/collector/staging/", errno.ENOSPC),
        Fault("write", "/collector/staging/", errno.ENOSPC, after=2, times=2),
    ],
    "staging writes badly": [
        Fault("write", "/collector/staging/", short=1000),
        Fault("fsync", "/collector/staging/", errno.EIO, times=2),
        Fault("read", "/collector/staging/", errno.EIO),
    ],
    "objects cannot be stored": [
        Fault("link", "/collector/objects/", errno.EIO, times=2),
        Fault("fsync", "/collector/objects/", errno.EIO, times=2),
        Fault("create", "/collector/objects/", errno.ENOSPC, after=1),
        Fault("read", "/collector/objects/", errno.EIO, after=1),
    ],
    "the log cannot be written": [
        Fault("write", "/collector/log/", errno.EIO, times=2),
        Fault("fsync", "/collector/log/", errno.EIO, after=2, times=2),
        Fault("rename", "/collector/log/", errno.EIO, after=3, times=2),
        Fault("create", "/collector/log/", errno.ENOSPC, after=9),
    ],
    "the catalogue cannot be written": [
        Fault("write", "/collector/catalogue.sqlite", errno.EIO, after=1, times=2),
        Fault("fsync", "/collector/catalogue.sqlite", errno.EIO),
    ],
}


@pytest.mark.parametrize("what", ROUNDS)
def test_what_fails_for_a_while_loses_nothing(ward: Ward, what: str) -> None:
    faults = [ward.fs.strike(fault) for fault in ROUNDS[what]]
    ward.dock()
    wait_until(lambda: faults[0].hits > 0, "the first fault")
    wait_until(
        lambda: (
            all(fault.hits for fault in faults)
            or ward.site.station.is_done()
            or not all(child.is_running for child in ward.site.children)
        ),
        "every fault, or nobody who could meet it",
    )
    ward.recover()


def test_a_recorder_whose_bus_fails_is_finished_when_it_is_docked_again(ward: Ward) -> None:
    met = ward.fs.strike(Fault("read", "/station/dock/", errno.EIO, after=3))
    bay = ward.dock()
    wait_until(lambda: met.hits > 0, "the recorder is read")
    ward.fs.gone = f"/station/dock/{bay}"
    station = ward.site.station
    wait_until(lambda: station.bay(bay).get("state") in ("lost-contact", "refused"), "the bay notices")
    assert station.bay(bay)["may_be_taken"] is False
    ward.fs.heal()
    station.take_away(bay)
    wait_until(lambda: not (station.dock_dir / bay).exists(), "the recorder is away")
    station.bring_back(bay)
    ward.recover()


@pytest.mark.parametrize("disk", ["/station/spool/", "/collector/objects/", "/collector/log/"])
def test_a_disk_that_goes_away_and_comes_back_loses_nothing(ward: Ward, disk: str) -> None:
    met = ward.fs.strike(Fault("fsync", disk, errno.EIO, after=5))
    ward.dock()
    wait_until(lambda: met.hits > 0, "the disk is in use")
    ward.fs.gone = disk
    failed = ward.fs.failed_calls
    wait_until(lambda: ward.fs.failed_calls > failed + 3, "somebody notices")
    ward.restart_the_collector()
    ward.recover()


def test_after_all_of_it_the_site_is_sound(ward: Ward) -> None:
    assert sum(ward.docked.values()) == len(SIZES) * len(ward.site.station.bays)
    audit_site(ward.site, ward.docked)
