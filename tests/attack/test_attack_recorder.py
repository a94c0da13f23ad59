"""A recorder made to hurt: names, links, pipes, depths, bombs. Everything true on it is delivered all the same."""

from __future__ import annotations

import os
import struct
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import BIN, Site, needs_site, open_site, wait_until

pytestmark = [pytest.mark.e2e, needs_site]

NAMES = (
    b"\x1b]0;title\x07.MP4",
    b"line\nbreak.MP4",
    "\u202egnp.MP4".encode(),
    "执法.MP4".encode("gbk"),
    b"A.MP4",
    b"a.mp4",
    b"%s%n.MP4",
    b"-rf.MP4",
    b" .MP4",
    b"\xff\xfe.MP4",
    b"\xed\xa0\x80.MP4",
    b"x" * 251 + b".MP4",
    b"';DROP TABLE clips.MP4",
)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def picture_bomb() -> bytes:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(20_000_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def make_hostile(root: bytes) -> int:
    """Fill the folder; how many regular files are in it and can be read."""
    media = root + b"/DCIM/100MEDIA"
    os.makedirs(media)
    playlist = b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"
    contents = {name: b"content of " + name for name in NAMES}
    contents |= {b"PLAYLIST.MP4": playlist, b"EMPTY.MP4": b"", b"BOMB.PNG": picture_bomb()}
    contents[b"BOMB.MP4"] = contents[b"BOMB.PNG"]
    for name, content in contents.items():
        Path(os.fsdecode(media + b"/" + name)).write_bytes(content)
    os.mkfifo(media + b"/FIFO.MP4")
    os.symlink("/etc/passwd", media + b"/LINK.MP4")
    os.symlink("/etc", root + b"/etc")
    os.symlink(".", media + b"/LOOP")
    os.makedirs(media + b"/d" * 70)
    return len(contents)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_site(tmp_path_factory.mktemp("recorder")) as running:
        running.start()
        yield running


def test_a_hostile_recorder_is_read_to_its_end_and_paints_no_terminal(site: Site) -> None:
    dock = os.fsencode(site.station.dock_dir)
    files = make_hostile(dock + b"/.hostile")
    os.rename(dock + b"/.hostile", dock + b"/host\x1b[31mile\n")
    wait_until(lambda: site.station.status().get("bays"), "a bay", watch=site.children)
    name = site.station.status()["bays"][0]["bay"]
    assert name.isprintable()
    wait_until(
        lambda: site.station.bay(name)["state"] == "unreadable" and site.station.status()["idle"],
        "everything that can be read is receipted",
        watch=site.children,
    )
    bay = site.station.bay(name)
    assert (bay["files_read"], bay["files_receipted"], bay["files_unreadable"]) == (files, files, 1)
    shown = subprocess.run(
        [BIN / "zhilu-agent", "status", "--data", str(site.station.folder)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for text in (
        shown,
        *(child.log.read_text(encoding="utf-8", errors="replace") for child in site.children),
    ):
        assert "\x1b" not in text
        assert "\u202e" not in text


def test_a_file_larger_than_the_station_holds_up_no_other_bay(site: Site) -> None:
    """It may be a lie of a damaged file system: nothing is written for it while there is no room."""
    giant = site.station.dock_dir / ".giant" / "DCIM"
    giant.mkdir(parents=True)
    with (giant / "HUGE.MP4").open("wb") as file:
        file.truncate(900 << 30)
    with (giant / "OVER.MP4").open("wb") as file:
        file.truncate(2 << 40)
    giant.parent.rename(site.station.dock_dir / "giant")
    wait_until(lambda: site.station.bay("giant").get("state") == "full", "back-pressure", watch=site.children)
    assert site.station.bay("giant")["problem_code"] == "spool-full"
    honest = site.station.dock_dir / ".honest" / "DCIM"
    honest.mkdir(parents=True)
    (honest / "CLIP.MP4").write_bytes(b"an honest clip")
    honest.parent.rename(site.station.dock_dir / "honest")
    wait_until(
        lambda: site.station.bay("honest").get("state") == "done", "the other bay", watch=site.children
    )
    assert sum(path.stat().st_size for path in (site.station.folder / "spool").rglob("*")) < 1 << 28
