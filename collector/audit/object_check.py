"""Every object, re-hashed past the page cache and compared with its name; and every promise kept, with its object.

Both ways, because either alone misses something: a file nobody promised, a promise without a file.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Final

from collector.audit.objects import AuditedObjects, ObjectName
from collector.audit.report import Tally
from collector.catalogue import Catalogue, Promise
from collector.errors import CollectorError, ObjectMissingError
from collector.objects import CLASS_OF, ObjectClass
from collector.progress import Progress
from protocol.digest import Digest

_CHUNK: Final = 500
_READERS: Final = 2
"""While one object is waited for, another is hashed."""

_PAGE: Final = 1_000


class ObjectCheck:
    """``promises`` is a catalogue made from the very log that is audited."""

    def __init__(
        self, objects: AuditedObjects, promises: Catalogue, tally: Tally, *, progress: Progress
    ) -> None:
        self._objects = objects
        self._promises = promises
        self._tally = tally
        self._progress = progress

    def check_stored(self, *, since: int = 0) -> None:
        """Whether each blob that ``stored`` speaks of, at ``since`` or later in the log, is there in its size."""
        for promise in stored_promises(self._promises):
            if promise.stored_index is not None and promise.stored_index >= since:
                self._check_there(promise)

    def check_found(self, wanted: Callable[[ObjectName], bool]) -> None:
        """Every object in the store: whether it is promised, read-only and, if ``wanted``, what its name says.
        Payloads are compared with the entries of the log elsewhere."""
        with ThreadPoolExecutor(_READERS, thread_name_prefix="rehash") as readers:
            for chunk in _chunks(self._found()):
                named = self._named(chunk)
                for name in chunk:
                    if name not in named:
                        self._tally.note(
                            "object-unnamed", str(name), "no statement in the log names this object"
                        )
                    self._check_mode(name)
                chosen = [
                    name
                    for name in chunk
                    if (name.cls is not ObjectClass.STATEMENTS or name not in named) and wanted(name)
                ]
                for name, outcome in zip(chosen, readers.map(self._rehash, chosen), strict=True):
                    self._judge(name, outcome)

    def names(self) -> Iterator[ObjectName]:
        """Every object that is not a payload. For choosing a sample."""
        for agency in self._objects.agencies():
            for found in self._objects.walk(agency):
                if isinstance(found, ObjectName) and found.cls is not ObjectClass.STATEMENTS:
                    yield found

    def _found(self) -> Iterator[ObjectName]:
        for agency in self._objects.agencies():
            for found in self._objects.walk(agency):
                if isinstance(found, ObjectName):
                    yield found
                else:
                    self._tally.note("object-misplaced", found, "nothing of the store lies at such a path")

    def _named(self, chunk: list[ObjectName]) -> set[ObjectName]:
        named: set[ObjectName] = set()
        for place in {(name.agency, name.cls) for name in chunk}:
            digests = [name.digest for name in chunk if (name.agency, name.cls) == place]
            agency, cls = place
            known = self._promises.known_objects(agency, cls, digests)
            named |= {ObjectName(agency=agency, cls=cls, digest=digest) for digest in known}
        return named

    def _check_there(self, promise: Promise) -> None:
        name = ObjectName(agency=promise.agency, cls=CLASS_OF[promise.purpose], digest=promise.digest)
        try:
            size_bytes = self._objects.size_bytes(name)
        except ObjectMissingError:
            self._tally.problem("object-missing", str(name), f"stored for {promise.statement}, and not there")
        except CollectorError as error:
            self._tally.problem(error.code, str(name), str(error))
        else:
            if size_bytes != promise.size_bytes:
                detail = f"{size_bytes} bytes, {promise.size_bytes} were promised by {promise.statement}"
                self._tally.problem("object-altered", str(name), detail)

    def _check_mode(self, name: ObjectName) -> None:
        try:
            if not self._objects.is_read_only(name):
                self._tally.problem("object-writable", str(name), "the object has lost its mode 0440")
        except CollectorError as error:
            self._tally.problem(error.code, str(name), str(error))

    def _rehash(self, name: ObjectName) -> tuple[Digest, int] | CollectorError:
        """Digest and size, or why there are none. On a reader's thread."""
        try:
            return self._objects.rehash(name)
        except CollectorError as error:
            return error

    def _judge(self, name: ObjectName, outcome: tuple[Digest, int] | CollectorError) -> None:
        if isinstance(outcome, CollectorError):
            self._tally.problem(outcome.code, str(name), str(outcome))
            return
        actual, size_bytes = outcome
        self._tally.count(size_bytes)
        self._progress("对象 objects", self._tally.checked, None)
        if actual != name.digest:
            self._tally.problem("object-altered", str(name), f"the bytes are now those of {actual}")


def stored_promises(promises: Catalogue) -> Iterator[Promise]:
    """Every promise that was answered by ``stored``, in log order."""
    after = -1
    while page := promises.all_stored(_PAGE, after):
        yield from page
        after = page[-1].entry_index


def choose(names: Iterable[str], size: int, seed: bytes) -> frozenset[str]:
    """``size`` of the names, each as likely as any other to whoever does not know ``seed``."""
    ranked = ((hashlib.sha256(seed + name.encode()).digest(), name) for name in names)
    return frozenset(name for _, name in heapq.nsmallest(size, ranked))


def _chunks(names: Iterator[ObjectName]) -> Iterator[list[ObjectName]]:
    while chunk := list(islice(names, _CHUNK)):
        yield chunk
