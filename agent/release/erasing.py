"""Erases the files an intent names, each only if it certainly is the file that was read. Blocking code for threads."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from agent.core.release import DIGEST_DIFFERS, ERASED, FILE_CHANGED, Check, decide_check
from agent.offload.reader import block_buffer
from agent.ports import ErasableVolume, FileReader
from agent.release.errors import ReceiptUnprovenError, ReleaseError, ReleaseStoppedError
from agent.release.proofs import Proofs
from agent.spool.records import IntentRow
from agent.volumes.errors import VolumeError, VolumeReadOnlyError, VolumeVanishedError
from protocol.digest import Digest
from protocol.statements import ReleaseItem

_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Doomed:
    """A file to be erased: what the signed intent says of it, and what the journal knows."""

    item: ReleaseItem
    row: IntentRow


class Eraser:
    """Works through files on one volume opened for release."""

    def __init__(self, volume: ErasableVolume, proofs: Proofs, stop: threading.Event) -> None:
        self._volume = volume
        self._proofs = proofs
        self._stop = stop
        self._buffer = block_buffer()

    def erase(self, files: Iterable[Doomed]) -> Mapping[int, str]:
        """By row: ``ERASED``, or the code of what kept the file. A volume that turns read-only keeps the rest.

        Raises VolumeVanishedError, ReleaseStoppedError, SpoolError, JournalError.
        """
        attempts: dict[int, str] = {}
        locked = False
        for doomed in files:
            if self._stop.is_set():
                raise ReleaseStoppedError(f"stopped after {len(attempts)} files")
            attempts[doomed.row.row] = VolumeReadOnlyError.code if locked else self._try(doomed)
            locked = attempts[doomed.row.row] == VolumeReadOnlyError.code
        return attempts

    def _try(self, doomed: Doomed) -> str:
        try:
            return self._erase(doomed)
        except (VolumeVanishedError, ReleaseStoppedError):
            raise
        except (VolumeError, ReleaseError) as error:
            _LOG.warning("file kept", extra={"row": doomed.row.row, "code": error.code})
            return error.code

    def _erase(self, doomed: Doomed) -> str:
        self._check_receipt(doomed.item)
        with self._volume.open_file(doomed.row.path) as source:
            found = source.opened_as
            check = decide_check(doomed.row.listed, found)
            if check is Check.KEEP:
                return FILE_CHANGED
            if check is Check.READ_AGAIN and self._digest_of(source) != doomed.item.digest:
                return DIGEST_DIFFERS
        self._volume.erase(doomed.row.path, found)
        return ERASED

    def _check_receipt(self, item: ReleaseItem) -> None:
        proven = self._proofs.of(item.manifest)
        if (proven.digest, proven.stored_index) != (item.digest, item.stored_index):
            raise ReceiptUnprovenError(
                f"the receipt for {item.manifest} proves something else than announced"
            )

    def _digest_of(self, source: FileReader) -> Digest:
        """Of all bytes the file has, which did not change meanwhile."""
        running = hashlib.sha256()
        while count := source.readinto(self._buffer):
            if self._stop.is_set():
                raise ReleaseStoppedError("stopped while a file was read again")
            running.update(self._buffer[:count])
        source.verify_unchanged()
        return Digest.sha256(running.hexdigest())
