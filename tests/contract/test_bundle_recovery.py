"""After a crash, is only what was finished of a bundle taken for whole, on a disk and in memory?"""

from __future__ import annotations

from pathlib import Path

import pytest

from collector.bundles import member_name, recover_members
from collector.files import Files, PosixFiles
from protocol.bundle import Member
from protocol.digest import Digest
from protocol.upload import Purpose
from tests.support.lossy_files import LossyFiles


@pytest.fixture(params=["disk", "memory"])
def files(request: pytest.FixtureRequest) -> Files:
    return PosixFiles() if request.param == "disk" else LossyFiles()


@pytest.mark.parametrize("content", [b"", b"photograph"], ids=["empty", "bytes"])
@pytest.mark.parametrize("protected", [True, False], ids=["protected", "crashed before its mode was set"])
def test_a_member_counts_when_it_has_its_bytes_and_its_mode(
    files: Files, tmp_path: Path, content: bytes, protected: bool
) -> None:
    member = Member(purpose=Purpose.ORIGINAL, digest=Digest.of(content), size_bytes=len(content))
    folder = tmp_path / "upload.bundle"
    files.make_folder(folder)
    appender = files.create(folder / member_name(0, member), read_only=protected)
    if content:
        appender.write(content)
    appender.close()
    assert recover_members(files, folder) == ((member,) if protected else ())
    assert files.names(folder) == ([member_name(0, member)] if protected else [])
