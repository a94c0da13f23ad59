"""Every name a card can hold, through a whole visit: real folders, real journal, real spool."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

from agent.core.bay import BayState
from agent.spool.directory import DirectorySpool
from agent.spool.journal import Journal
from agent.spool.records import Purpose
from agent.volumes.tree import TreeVolume
from protocol.digest import Digest
from protocol.listing import RowState, parse_listing
from tests.support.visit_lab import inventories, make_tools, manifests, run_visit

NAMES = {
    "dots that look like a way up": [b"...", b"..mp4", b"....mp4", b"..%2f..%2fetc"],
    "what other systems take for a path": [b"..\\..\\etc\\passwd", b"C:\\clip.mp4", b"\\\\host\\share", b"~", b"a:b"],
    "255 bytes": [b"n" * 251 + b".mp4", "执".encode() * 83 + b".mp4"],
    "control characters": [bytes([code]) + b".mp4" for code in (*range(1, 32), 127)],
    "paint": [b"\x1b]0;title\x07.mp4", "\u202egnp.mp4".encode(), "\u2066a\u2069.mp4".encode()],
    "no UTF-8": [b"\xff\xfe.mp4", b"\xed\xa0\x80.mp4", b"\xc0\xae\xc0\xae.mp4", b"\xf8\x88\x80\x80\x80.mp4"],
    "GBK": ["执法记录_01.mp4".encode("gbk"), "现场.mp4".encode("gb18030"), b"\x81\x30\x81\x30.mp4"],
    "only the case differs": [b"CLIP.MP4", b"clip.mp4", b"Clip.Mp4"],
    "only the composition differs": [
        unicodedata.normalize(form, "é.mp4").encode() for form in ("NFC", "NFD")
    ],
    "reserved by other systems": [b"CON", b"NUL", b"nul.mp4", b"AUX.mp4", b"COM1", b"LPT1.jpg", b"PRN."],
    "lost by other systems": [b" ", b"a ", b" a", b"a.", b"-rf", b"--help.mp4", b"*", b"?.mp4", b'"', b"|", b"<a>"],
    "what programs take for a command": [b"$(reboot).mp4", b"`id`.mp4", b"%s%n.mp4", b"{}.mp4", b";ls", b"&"],
    "what databases take for one": [b"';DROP TABLE clips;--.mp4", b"%.mp4", b"_.mp4", b'" OR 1=1'],
}  # fmt: skip


async def test_a_file_of_any_name_is_read_under_its_own_bytes(tmp_path: Path) -> None:
    wanted = {
        b"/".join((b"DCIM", kind.encode(), name)): b"the bytes of " + name
        for kind, names in NAMES.items()
        for name in names
    }
    card = os.fsencode(tmp_path) + b"/card"
    for path, content in wanted.items():
        file = Path(os.fsdecode(card + b"/" + path))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    spool = DirectorySpool(tmp_path / "spool")
    journal = Journal(tmp_path / "journal.sqlite", spool)
    volume = TreeVolume.at(card, dock="folder", bay="bay-1", label=None)
    tile = await run_visit(volume, make_tools(journal))
    assert tile.state is BayState.DELIVERING
    assert {made.path_bytes: made.digest for made in manifests(journal)} == {
        path: Digest.of(content) for path, content in wanted.items()
    }
    (listed,) = inventories(journal)
    rows = list(parse_listing([spool.path(Purpose.LISTING, listed.listing).read_bytes()]))
    assert {row.raw_path: row.state for row in rows} == dict.fromkeys(wanted, RowState.TO_READ)
    journal.close()
    kept = {path.name for path in (tmp_path / "spool").rglob("*") if path.is_file()}
    assert kept == {Digest.of(content).hex for content in wanted.values()} | {listed.listing.hex}
