"""Small files are read-only from their first byte on: can the user that wrote them go on after a restart?

The services run without privileges, tests mostly as root, who may open anything.
"""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.spool.directory import DirectorySpool
from agent.spool.files import BLOCK_BYTES, Publication
from agent.spool.records import Purpose as SpoolPurpose
from collector.files import PosixFiles
from collector.objects import Adoption, ObjectClass
from collector.objects.folder import ObjectFolder
from collector.staging import Staging
from protocol.digest import Digest
from protocol.upload import Creation, Purpose
from tests.support.bundles import File, bundle_of
from tests.support.unprivileged import run_unprivileged

FILES: list[File] = [(Purpose.ORIGINAL, b"photograph %d" % number * 500) for number in range(8)]
BUNDLE = bundle_of(FILES)
CUT = len(BUNDLE) // 2
UPLOAD = "7" * 32
EXPIRY = datetime(2026, 1, 31, tzinfo=UTC) + timedelta(days=1)


def send(staging: Staging, data: bytes) -> None:
    part = staging.part(UPLOAD)
    part.write(data)
    staging.commit(part, expires_at=EXPIRY)


def begin_a_bundle() -> None:
    assert os.getuid() != 0
    staging = Staging(PosixFiles(), Path("staging"))
    staging.recover()
    creation = Creation(
        purpose=Purpose.BUNDLE, agency="hz", declared=None, size_bytes=len(BUNDLE), metadata=None
    )
    staging.create(creation, upload_id=UPLOAD, owner="station-1", expires_at=EXPIRY)
    send(staging, BUNDLE[:CUT])


def go_on_with_it_and_store_it() -> None:
    files = PosixFiles()
    staging = Staging(files, Path("staging"))
    assert staging.recover() == []
    begun = staging.find(UPLOAD)
    assert begun is not None
    assert 0 < len(begun.members) < len(FILES)
    send(staging, BUNDLE[begun.offset_bytes :])
    whole = staging.find(UPLOAD)
    assert whole is not None
    assert whole.is_complete
    folder = ObjectFolder(files, Path("objects"))
    adoptions = [
        Adoption(
            path=blob.path,
            place=("hz", ObjectClass.ORIGINALS, blob.digest),
            size_bytes=blob.size_bytes,
            sealed=True,
        )
        for blob in staging.blobs(whole)
    ]
    assert folder.adopt_group(adoptions) == [None] * len(FILES)
    staging.settle(UPLOAD)


def test_a_bundle_goes_on_after_a_restart_and_its_members_become_objects(tmp_path: Path) -> None:
    run_unprivileged(tmp_path, begin_a_bundle)
    staged = list((tmp_path / "staging" / f"{UPLOAD}.bundle").iterdir())
    assert {path.stat().st_mode & 0o777 for path in staged} == {0o440}
    run_unprivileged(tmp_path, go_on_with_it_and_store_it)
    stored = [path for path in (tmp_path / "objects" / "hz").rglob("*") if path.is_file()]
    assert sorted(path.read_bytes() for path in stored) == sorted(data for _, data in FILES)
    assert {(path.stat().st_mode & 0o777, path.stat().st_nlink) for path in stored} == {(0o440, 1)}


def refuse_direct_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """As tmpfs did until Linux 6.6: the file is made, and then its opening fails."""
    real = os.open

    def refusing(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_DIRECT:
            if flags & os.O_CREAT:
                os.close(real(path, flags & ~os.O_DIRECT, mode))
            raise OSError(errno.EINVAL, "no direct files here")
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", refusing)


def publish_a_small_file_twice() -> None:
    spool = DirectorySpool(Path("spool"))
    with pytest.MonkeyPatch.context() as monkeypatch:
        for number in range(2):
            digest = Digest.of(b"%d" % number * BLOCK_BYTES)
            partial = spool.open_brief(str(number))
            partial.append(memoryview(bytearray(b"%d" % number * BLOCK_BYTES)), BLOCK_BYTES)
            partial.flush()
            partial.close()
            spool.publish([Publication(partial=str(number), purpose=SpoolPurpose.ORIGINAL, digest=digest)])
            refuse_direct_files(monkeypatch)  # for the second


def test_a_station_keeps_small_files_also_where_no_direct_files_are(tmp_path: Path) -> None:
    run_unprivileged(tmp_path, publish_a_small_file_twice)
    kept = [path for path in (tmp_path / "spool" / "originals").rglob("*") if path.is_file()]
    assert [(path.stat().st_mode & 0o777, path.stat().st_size) for path in kept] == [(0o440, BLOCK_BYTES)] * 2
