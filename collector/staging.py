"""Uploads in progress: every byte counted in an offset is durable, and a restart finds all of them again.

Below the staging folder each upload is ``<id>.bytes`` (a bundle: the folder ``<id>.bundle``, see ``bundles``) and,
written first and durably, ``<id>.json`` with what its creation said. The offset is the length of the bytes; the running
SHA-256 lives in memory and is made again from the bytes after a restart. Everything here blocks and belongs in worker
threads; the caller sees to it that one upload is changed by one thread at a time.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from collector.bundles import BundlePart, member_name, offset_of, recover_members, remove_bundle
from collector.core.room import StagingRoom, require_room
from collector.errors import StorageError, StorageFullError, storage_errors
from collector.files import Files
from collector.part_writer import PartWriter, write_all
from collector.running import RunningDigest
from collector.staged import MAX_INFO_BYTES, StagedBlob, StagedUpload, format_info, parse_info
from protocol.digest import Digest
from protocol.errors import ProtocolError
from protocol.upload import Checksum, Creation, Purpose
from protocol.upload_errors import BundleMalformedError, UploadNotFoundError

log = logging.getLogger(__name__)

MAX_REMEMBERED: Final = 4096
"""Stored uploads whose answer to a late HEAD is remembered; a sender asks within minutes, receipts tell the rest."""

RENEWAL: Final = timedelta(days=1)
"""A moved expiry is written down when it moved by this much: not one more sync for every part."""


@dataclass(slots=True)
class _Entry:
    upload: StagedUpload
    hasher: RunningDigest | None
    expiry_on_disk: datetime


class Staging:
    """All uploads below one folder. Raises StorageError and StorageFullError where the disk fails."""

    def __init__(self, files: Files, folder: Path) -> None:
        self._files = files
        self._folder = folder
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._open: Counter[str] = Counter()
        self._remembered: OrderedDict[str, StagedUpload] = OrderedDict()

    def recover(self) -> list[str]:
        """Finds the uploads an earlier run left, clears away half-made ones, and returns the names of info files
        that make no sense or whose bytes cannot be had; those are left for a person. Once, before anything else."""
        with storage_errors("opening the staging folder"):
            self._files.make_folder(self._folder)
            self._files.sync_folder(self._folder)
            names = self._files.names(self._folder)
        damaged = []
        infos = {name.removesuffix(".json") for name in names if name.endswith(".json")}
        for name in names:
            upload_id, _, kind = name.partition(".")
            if kind == "json":
                if not self._recover_one(upload_id):
                    damaged.append(name)
            elif upload_id not in infos or kind not in ("bytes", "bundle"):
                with contextlib.suppress(OSError):  # the next start tries again
                    remove = remove_bundle if kind == "bundle" else _remove
                    remove(self._files, self._folder / name)
        return damaged

    def create(self, creation: Creation, *, upload_id: str, owner: str, expires_at: datetime) -> StagedUpload:
        """A new, empty, durable upload."""
        upload = StagedUpload(
            upload_id=upload_id,
            owner=owner,
            agency=creation.agency,
            purpose=creation.purpose,
            size_bytes=creation.size_bytes,
            offset_bytes=0,
            declared=creation.declared,
            actual=Digest.of(b"") if creation.size_bytes == 0 else None,
            expires_at=expires_at,
            metadata=creation.metadata,
        )
        try:
            with storage_errors("creating an upload"):
                if upload.purpose is Purpose.BUNDLE:
                    self._files.add_folder(self._bundle(upload_id))
                else:
                    self._files.create(self.path(upload_id)).close()
                self._write_info(upload)
        except StorageError:
            self._clear_away(upload_id)
            raise
        self._enter(upload, RunningDigest())
        return upload

    def find(self, upload_id: str) -> StagedUpload | None:
        """The upload as it stands, or as it was when it was stored. Does not block."""
        entry = self._entries.get(upload_id)
        return entry.upload if entry else self._remembered.get(upload_id)

    def all(self) -> list[StagedUpload]:
        """Every upload in progress or complete and waiting. Does not block."""
        return [entry.upload for entry in list(self._entries.values())]

    def open_uploads(self, owner: str) -> int:
        """How many uploads this sender has here. Does not block."""
        return self._open[owner]

    def require_room(self, owner: str, size_bytes: int) -> None:
        """Raises StorageFullError or StagingShareError when an upload of this size may not begin now."""
        with storage_errors("asking for free space"):
            space = self._files.space(self._folder)
        uploads = self.all()
        room = StagingRoom(
            free_bytes=space.free_bytes,
            total_bytes=space.total_bytes,
            coming_bytes=sum((one.size_bytes or one.offset_bytes) - one.offset_bytes for one in uploads),
            staged_bytes=sum(one.offset_bytes for one in uploads),
            claimed_bytes=sum(one.size_bytes or one.offset_bytes for one in uploads if one.owner == owner),
        )
        require_room(room, size_bytes)

    def path(self, upload_id: str) -> Path:
        """Where the bytes lie, for the object store to adopt once complete."""
        return self._folder / f"{upload_id}.bytes"

    def blobs(self, upload: StagedUpload) -> list[StagedBlob]:
        """What a complete and measured upload brought. Does not block."""
        if upload.actual is not None and upload.size_bytes is not None:
            path = self.path(upload.upload_id)
            whole = (upload.purpose, upload.actual, upload.size_bytes, path, False, upload.passed)
            return [_blob(upload.agency, *whole)]
        folder = self._bundle(upload.upload_id)
        return [
            _blob(
                upload.agency,
                member.purpose,
                member.digest,
                member.size_bytes,
                folder / member_name(number, member),
                True,
            )
            for number, member in enumerate(upload.members)
        ]

    def set_length(self, upload_id: str, size_bytes: int) -> StagedUpload:
        """Fixes a deferred length, durably."""
        entry = self._entry(upload_id)
        upload = replace(entry.upload, size_bytes=size_bytes)
        with storage_errors("noting the length of an upload"):
            self._write_info(upload)
        entry.upload, entry.expiry_on_disk = upload, upload.expires_at
        return self.measure(upload_id) if upload.is_complete else upload

    def part(self, upload_id: str, checksum: Checksum | None = None) -> PartWriter | BundlePart:
        """Opens the upload for one more part, to be given to ``commit`` or ``roll_back`` in the end. Raises
        UploadNotFoundError."""
        entry = self._entry(upload_id)
        if entry.upload.purpose is Purpose.BUNDLE:
            return BundlePart(
                self._files,
                self._bundle(upload_id),
                upload_id=upload_id,
                taken=entry.upload.members,
                size_bytes=entry.upload.size_bytes or 0,
                algorithm=checksum.algorithm if checksum else None,
            )
        with storage_errors("opening an upload"):
            return PartWriter(
                self._files,
                self.path(upload_id),
                upload_id=upload_id,
                start_bytes=entry.upload.offset_bytes,
                hasher=self._hasher(entry).copy(),
                algorithm=checksum.algorithm if checksum else None,
            )

    def commit(self, part: PartWriter | BundlePart, *, expires_at: datetime) -> StagedUpload:
        """Makes the part durable and counts it. If that fails the upload is given up: after a failed sync nobody
        knows which of its bytes the disk has. The sender still has them all. A bundle that ends out of form is given
        up too (BundleMalformedError)."""
        with self._lost_on_failure(part.upload_id), storage_errors("making a part durable"):
            offset = part.finish()
        entry = self._entry(part.upload_id)
        upload = replace(entry.upload, offset_bytes=offset, expires_at=expires_at)
        if isinstance(part, BundlePart):
            upload = replace(upload, members=part.members)
        else:
            if upload.is_complete:
                upload = _measured(upload, part.hasher)
            entry.hasher = None if upload.is_complete else part.hasher
        entry.upload = upload
        if expires_at - entry.expiry_on_disk >= RENEWAL:
            with contextlib.suppress(OSError):  # the bytes are safe; the earlier expiry is only less generous
                self._write_info(upload)
                entry.expiry_on_disk = expires_at
        return upload

    def roll_back(self, part: PartWriter | BundlePart) -> None:
        """Takes the part back as if it had never come. If the disk refuses even that, the upload is given up."""
        with self._lost_on_failure(part.upload_id), storage_errors("taking a part back"):
            part.undo()

    def measure(self, upload_id: str) -> StagedUpload:
        """The upload with ``actual`` filled in if it is complete; reads its bytes if a restart lost the hash.
        Raises UploadNotFoundError."""
        if remembered := self._remembered.get(upload_id):
            return remembered
        entry = self._entry(upload_id)
        if entry.upload.is_complete and not entry.upload.is_measured:
            with storage_errors("reading a complete upload"):
                entry.upload = _measured(entry.upload, self._hasher(entry))
        return entry.upload

    def settle(self, upload_id: str) -> None:
        """The bytes are stored elsewhere: the staged name goes, the answer to a late HEAD stays for a while."""
        upload = self._forget(upload_id)
        if upload is None:
            return
        with self._lock:
            self._remembered[upload_id] = replace(upload, stored=True)
            if len(self._remembered) > MAX_REMEMBERED:
                self._remembered.popitem(last=False)
        # Not synced: should a crash bring the names back, the upload is complete and is adopted once more.
        self._clear_away(upload_id)

    def remove(self, upload_id: str) -> None:
        """The upload ends here, durably. Unknown ones are fine."""
        if self._forget(upload_id) is not None:
            self._clear_away(upload_id)
            with storage_errors("removing an upload"):
                self._files.sync_folder(self._folder)

    def expired(self, now: datetime) -> list[str]:
        """Ids of uploads nobody has added to for too long. Does not block."""
        return [upload.upload_id for upload in self.all() if upload.expires_at <= now]

    @contextlib.contextmanager
    def _lost_on_failure(self, upload_id: str) -> Iterator[None]:
        try:
            yield
        except (StorageError, BundleMalformedError) as error:
            log.log(
                logging.ERROR if isinstance(error, StorageError) else logging.WARNING,
                "upload-lost",
                extra={"upload_id": upload_id, "code": error.code},
                exc_info=isinstance(error, StorageError) and not isinstance(error, StorageFullError),
            )
            with contextlib.suppress(StorageError):
                self.remove(upload_id)
            raise

    def _entry(self, upload_id: str) -> _Entry:
        entry = self._entries.get(upload_id)
        if entry is None:
            raise UploadNotFoundError("no such upload")
        return entry

    def _enter(self, upload: StagedUpload, hasher: RunningDigest | None) -> None:
        with self._lock:
            self._entries[upload.upload_id] = _Entry(upload, hasher, upload.expires_at)
            self._open[upload.owner] += 1

    def _forget(self, upload_id: str) -> StagedUpload | None:
        with self._lock:
            entry = self._entries.pop(upload_id, None)
            if entry is None:
                return None
            self._open[entry.upload.owner] -= 1
            if not self._open[entry.upload.owner]:
                del self._open[entry.upload.owner]
            return entry.upload

    def _hasher(self, entry: _Entry) -> RunningDigest:
        if entry.hasher is None:
            hasher = RunningDigest()
            size = self._files.reread(self.path(entry.upload.upload_id), hasher.update)
            if size != entry.upload.offset_bytes:
                raise StorageError("a staged file does not have the length it was recovered with")
            entry.hasher = hasher
        return entry.hasher

    def _recover_one(self, upload_id: str) -> bool:
        """False if info or bytes make no sense. Info without bytes is the rest of a removal."""
        info = self._folder / f"{upload_id}.json"
        try:
            upload = parse_info(upload_id, self._files.read(info, 0, MAX_INFO_BYTES))
        except (OSError, ProtocolError):
            return False
        try:
            upload = self._recover_bytes(upload)
        except FileNotFoundError:
            self._clear_away(upload_id)
            return True
        except OSError:
            return False
        if upload.size_bytes is not None and upload.offset_bytes > upload.size_bytes:
            return False
        self._enter(upload, None)
        return True

    def _recover_bytes(self, upload: StagedUpload) -> StagedUpload:
        """Bytes an earlier process left in the page cache count only once they are durable."""
        if upload.purpose is Purpose.BUNDLE:
            members = recover_members(self._files, self._bundle(upload.upload_id))
            return replace(upload, members=members, offset_bytes=offset_of(members, upload.size_bytes))
        self._files.sync_file(self.path(upload.upload_id))
        return replace(upload, offset_bytes=self._files.size_bytes(self.path(upload.upload_id)))

    def _write_info(self, upload: StagedUpload) -> None:
        temporary = self._folder / f"{upload.upload_id}.new"
        with contextlib.suppress(FileNotFoundError):
            self._files.remove(temporary)
        appender = self._files.create(temporary)
        try:
            write_all(appender, format_info(upload))
            appender.sync()
        finally:
            appender.close()
        self._files.replace(temporary, self._folder / f"{upload.upload_id}.json")
        self._files.sync_folder(self._folder)

    def _clear_away(self, upload_id: str) -> None:
        """Info first: bytes without info are cleared at the next start, info without bytes would be an upload."""
        for suffix in (".json", ".bytes", ".new"):
            with contextlib.suppress(OSError):
                self._files.remove(self._folder / f"{upload_id}{suffix}")
        with contextlib.suppress(OSError):
            remove_bundle(self._files, self._bundle(upload_id))

    def _bundle(self, upload_id: str) -> Path:
        return self._folder / f"{upload_id}.bundle"


def _remove(files: Files, path: Path) -> None:
    files.remove(path)


def _blob(
    agency: str,
    purpose: Purpose,
    digest: Digest,
    size_bytes: int,
    path: Path,
    sealed: bool,
    passed: bytes | None = None,
) -> StagedBlob:
    return StagedBlob(
        agency=agency,
        purpose=purpose,
        digest=digest,
        size_bytes=size_bytes,
        path=path,
        sealed=sealed,
        passed=passed,
    )


def _measured(upload: StagedUpload, hasher: RunningDigest) -> StagedUpload:
    return replace(upload, actual=hasher.digest, passed=hasher.passed)
