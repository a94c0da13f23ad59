"""Complete uploads that wait for a promise: which of them bring which blobs, and when one has served its purpose.

An upload has, once everything it brought lies in the object store. Uploads may end in other ways at any time; what
staging no longer knows is forgotten here when it is next asked for.
"""

from __future__ import annotations

from collections.abc import Iterable

from collector.objects import CLASS_OF, Place
from collector.staged import StagedBlob, StagedUpload
from collector.staging import Staging
from protocol.digest import Digest

Key = tuple[str, Digest]
"""Agency and digest: what joins bytes and promises."""


def place_of(blob: StagedBlob) -> Place:
    """Where the blob lies once it is an object."""
    return blob.agency, CLASS_OF[blob.purpose], blob.digest


class AwaitingPromise:
    """Used by the loop alone; nothing here blocks."""

    def __init__(self, staging: Staging) -> None:
        self._staging = staging
        self._left: dict[str, dict[Key, list[StagedBlob]]] = {}
        self._uploads: dict[Key, set[str]] = {}

    def add(self, upload: StagedUpload) -> list[Key]:
        """A complete and measured upload; the keys of what it brings."""
        left: dict[Key, list[StagedBlob]] = {}
        for blob in self._staging.blobs(upload):
            left.setdefault((blob.agency, blob.digest), []).append(blob)
        self._left[upload.upload_id] = left
        for key in left:
            self._uploads.setdefault(key, set()).add(upload.upload_id)
        return list(left)

    def __contains__(self, key: Key) -> bool:
        return bool(self._live(key))

    def find(self, key: Key, size_bytes: int) -> tuple[str, StagedBlob] | None:
        """An upload with such a blob of this size. Bytes of another size are right and the promise is wrong: they wait
        for an honest one. What purpose they were uploaded for makes no difference."""
        for upload_id in self._live(key):
            for blob in self._left[upload_id][key]:
                if blob.size_bytes == size_bytes:
                    return upload_id, blob
        return None

    def places(self, keys: Iterable[Key]) -> list[Place]:
        """Where everything with these keys that is here is to lie."""
        return [
            place_of(blob)
            for key in keys
            for upload_id in self._live(key)
            for blob in self._left[upload_id][key]
        ]

    def note_stored(self, places: Iterable[Place]) -> list[str]:
        """These are objects; returns the uploads that have nothing else to bring."""
        ended: list[str] = []
        for place in places:
            key = place[0], place[2]
            for upload_id in self._live(key):
                left = self._left[upload_id]
                left[key] = [blob for blob in left[key] if place_of(blob) != place]
                if not left[key]:
                    del left[key]
                    self._disconnect(key, upload_id)
                if not left:
                    ended.append(upload_id)
        return ended

    def forget(self, upload_id: str) -> None:
        """The upload is gone."""
        for key in self._left.pop(upload_id, {}):
            self._disconnect(key, upload_id)

    def forget_ended(self) -> None:
        """Drops what staging no longer knows."""
        for key in list(self._uploads):
            self._live(key)

    def _live(self, key: Key) -> list[str]:
        live = []
        for upload_id in sorted(self._uploads.get(key, ())):
            upload = self._staging.find(upload_id)
            if upload is None or upload.stored:
                self.forget(upload_id)
            else:
                live.append(upload_id)
        return live

    def _disconnect(self, key: Key, upload_id: str) -> None:
        uploads = self._uploads.get(key, set())
        uploads.discard(upload_id)
        if not uploads:
            self._uploads.pop(key, None)
