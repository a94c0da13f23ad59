"""Disks that are really full (tmpfs): station and collector wait, or end loudly, and lose nothing."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.audit import audit_site
from tests.support.cards import MIB, files_of, make_card
from tests.support.processes import Child, Site, needs_site, open_site, wait_until

pytestmark = [
    pytest.mark.e2e,
    needs_site,
    pytest.mark.skipif(os.geteuid() != 0, reason="full disks need the right to mount a tmpfs: run as root"),
]

DISK_MIB = 96
SIZES = [2 * MIB + 1, 300_000, 5_000]


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A tmpfs of its own. Skips where it may not be mounted."""
    folder.mkdir(parents=True)
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=700", "tmpfs", str(folder)]
    done = subprocess.run(mounting, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"full disks need the right to mount a tmpfs: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@dataclass
class Ward:
    """A site on two small disks, and all that was ever docked."""

    site: Site
    folder: Path
    docked: Counter[tuple[str, str]] = field(default_factory=Counter)

    def dock(self) -> str:
        number = len(self.site.station.bays)
        card = make_card(self.folder / f"card-{number}", SIZES, seed=50 + number, recorder=f"ZFY{number:04}")
        self.docked += files_of(card)
        return self.site.station.dock(card)

    @contextlib.contextmanager
    def filled(self, disk: Path, leave_bytes: int) -> Iterator[None]:
        """So few bytes are left on the disk while the body runs."""
        ballast = disk / "ballast"
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(MIB)) == MIB:
                pass
        os.truncate(ballast, max(0, ballast.stat().st_size - leave_bytes))
        try:
            yield
        finally:
            ballast.unlink()

    def recover(self) -> None:
        wait_until(self._is_done, "everything is delivered", deadline_s=180)
        audit_site(self.site, self.docked)

    def _is_done(self) -> bool:
        start_again(self.site.collector.child, self.site.collector.start)
        start_again(self.site.station.child, self.site.station.start)
        return self.site.station.is_done()


def start_again(child: Child, start: object) -> None:
    if not child.is_running:
        assert callable(start)
        start()


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    folder = tmp_path_factory.mktemp("full")
    site_folder = folder / "site"
    with (
        small_disk(site_folder / "collector"),
        small_disk(site_folder / "station"),
        open_site(site_folder) as site,
    ):
        (site.station.folder / "agent.toml").write_text("settle_s = 0.3\nreserve_mib = 0\n")
        site.start()
        yield Ward(site, folder)


@pytest.mark.parametrize("leave_bytes", [2 * MIB, 200_000, 0], ids=["2 MiB", "200 KB", "nothing"])
def test_a_station_without_room_waits_or_ends_and_delivers_everything_afterwards(
    ward: Ward, leave_bytes: int
) -> None:
    station = ward.site.station
    station.child.end()
    bay = ward.dock()
    with ward.filled(station.folder, leave_bytes):
        station.start()
        wait_until(
            lambda: (
                not station.child.is_running
                or station.bay(bay).get("state") in ("full", "refused", "unreadable")
            ),
            "the station says that it has no room",
        )
        assert station.bay(bay).get("may_be_taken") is not True
    ward.recover()


@pytest.mark.parametrize("leave_bytes", [1 * MIB, 100_000, 0], ids=["1 MiB", "100 KB", "nothing"])
def test_a_collector_without_room_loses_nothing_and_stores_everything_afterwards(
    ward: Ward, leave_bytes: int
) -> None:
    collector = ward.site.collector
    known = len(collector.child.log.read_text(errors="replace"))
    with ward.filled(collector.folder, leave_bytes):
        bay = ward.dock()
        wait_until(
            lambda: (
                not collector.child.is_running
                or "no space left" in collector.child.log.read_text(errors="replace")[known:].lower()
                or "storage-full" in collector.child.log.read_text(errors="replace")[known:]
            ),
            "the collector meets its full disk",
        )
        assert ward.site.station.bay(bay).get("state") != "done"
    ward.recover()
