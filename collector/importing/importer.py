"""An import (导入): folder and table in, originals with receipts out, in the way every original takes.

In parts of some thousand files: each file is read and hashed, what an earlier import brought is left alone, the rest
is listed in a signed inventory, announced with signed manifests, uploaded, and waited for until its receipt
verifies. It may be broken off anywhere and repeated.

Each file is read twice, and that is meant. Only its digest tells whether an earlier import brought it, and only a file
whose digest is in an admitted manifest is sent: else a repeated import would send everything again, and a part's
files would lie in staging, unpromised, until the last of them is hashed. A file that changes in between is refused
by its digest and named.

Nothing is guessed: a file without a row is imported without
claims, and every row without a file, file without a row and cell that makes no sense is reported.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

from collector.errors import CollectorAwayError
from collector.importing.client import CollectorClient, KnownClip
from collector.importing.errors import ImportRefusedError
from collector.importing.identity import IMPORTER
from collector.importing.sheet import Sheet, SheetRow
from collector.importing.source import Content, FoundFile, Oddity, blocks_of, read_content, walk
from collector.importing.testimony import Testimony
from collector.progress import Progress
from protocol.digest import Digest
from protocol.dsse import Envelope
from protocol.listing import ListingRow, RowState, encode_listing

PART_FILES: Final = 2000
"""Files of one inventory: a listing of some hundred KiB, and what a part broken off has to read again."""

_UPLOADS: Final = 4
READING: Final = "读取 files read"
STORING: Final = "入库 files stored"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing for a person to look at: a path or a line of the table, a stable code."""

    code: str
    about: str


@dataclass(slots=True)
class Outcome:
    """What an import did and found."""

    imported: int = 0
    imported_bytes: int = 0
    known: int = 0
    problems: list[Problem] = field(default_factory=list)
    failed: list[Problem] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class _Item:
    """A file on its way. ``known`` is what an earlier import left; ``row`` its place in the new inventory."""

    file: FoundFile
    said: SheetRow | None
    content: Content | None = None
    failure: str | None = None
    known: KnownClip | None = None
    row: int = 0
    manifest: Digest | None = None

    @property
    def is_new(self) -> bool:
        return self.content is not None and self.known is None


class Import:
    """One import into one agency."""

    def __init__(
        self,
        client: CollectorClient,
        testimony: Testimony,
        *,
        folder: Path,
        sheet: Sheet,
        table: FoundFile | None,
        table_digest: Digest,
        progress: Progress,
    ) -> None:
        """``table`` is the table as a file to import with the others, None where it lies in the folder."""
        self._client = client
        self._testimony = testimony
        self._folder = folder
        self._sheet = sheet
        self._table = table
        self._table_digest = table_digest
        self._progress = progress
        self._slots = asyncio.Semaphore(_UPLOADS)
        self._read = 0
        self.outcome = Outcome()

    async def run(self) -> Outcome:
        """Raises CollectorAwayError, ImportRefusedError, SourceError; what was imported until then stays."""
        unmatched = dict(self._sheet.rows)
        files = await asyncio.to_thread(lambda: list(self._files(unmatched)))
        for row in unmatched.values():
            self._note("row-without-file", f"line {row.line}: {row.path}")
        for problem in self._sheet.problems:
            self._note(problem.code, f"line {problem.line}: {problem.text}")
        rest = iter(files)
        while part := list(islice(rest, PART_FILES)):
            await self._import_part(part, len(files))
        return self.outcome

    def _files(self, unmatched: dict[str, SheetRow]) -> Iterator[_Item]:
        found = sorted(self._found(), key=lambda file: file.raw_path)
        for file in found:
            said = unmatched.pop(file.path, None)
            if said is None and self._sheet.rows and file is not self._table:
                self._note("file-without-row", file.path)
            yield _Item(file=file, said=said)

    def _found(self) -> Iterator[FoundFile]:
        if self._table is not None:
            yield self._table
        for found in walk(self._folder):
            if isinstance(found, Oddity):
                self._note(found.code, found.path)
            else:
                yield found

    def _note(self, code: str, about: str) -> None:
        self.outcome.problems.append(Problem(code=code, about=about))

    def _fail(self, item: _Item, code: str) -> None:
        item.failure = code
        self.outcome.failed.append(Problem(code=code, about=item.file.path))

    async def _import_part(self, part: list[_Item], total: int) -> None:
        for item in part:
            await self._look_at(item)
            self._read += 1
            self._progress(READING, self._read, total)
        if any(item.is_new for item in part):
            await self._announce(part)
        await asyncio.gather(*(self._deliver(item) for item in part))

    async def _look_at(self, item: _Item) -> None:
        """Read the file; ask whether it is here already."""
        try:
            item.content = await asyncio.to_thread(read_content, item.file)
        except OSError:
            self._fail(item, "file-unreadable")
            return
        item.known = await self._client.known(IMPORTER, item.file.path, item.content.digest)

    async def _announce(self, part: list[_Item]) -> None:
        """The inventory, its listing, the manifests, and what the table says of cases: admitted on return."""
        visit = secrets.token_hex(16)
        rows = [_listing_row(item) for item in part]
        listing = b"".join(encode_listing(rows))
        inventory = self._testimony.inventory(visit, listing, rows)
        await self._client.announce([inventory.envelope])
        await self._client.upload("listing", Digest.of(listing), len(listing), listing)
        envelopes = []
        for place, item in enumerate(part):
            if item.content is None or not item.is_new:
                continue
            manifest = self._testimony.manifest(
                visit, inventory.id, place, item.file, item.content, item.said
            )
            item.manifest = manifest.id
            envelopes += [*self._described(item.content, item.said), manifest.envelope]
        await self._client.announce(envelopes)
        await self._client.receipt(inventory.id)

    def _described(self, content: Content, said: SheetRow | None) -> Iterator[Envelope]:
        """Before its manifest: a file whose manifest is there is not announced again."""
        described = None if said is None else self._testimony.described(content, said, self._table_digest)
        if described is not None:
            yield described.envelope

    async def _deliver(self, item: _Item) -> None:
        """Bytes up, receipt back. A file that changed since it was read is refused by its digest, and named."""
        if item.content is None:
            return
        if item.known is not None and item.known.stored:
            self.outcome.known += 1
            return
        statement = item.manifest if item.known is None else item.known.manifest
        assert statement is not None, "what is not known was announced"
        async with self._slots:
            bytes_again = _Again(item.file, item.content.size_bytes)
            try:
                await self._client.upload(
                    "original", item.content.digest, item.content.size_bytes, bytes_again.blocks()
                )
                await self._client.receipt(statement)
            except (ImportRefusedError, CollectorAwayError) as error:
                if isinstance(error, CollectorAwayError) and not bytes_again.changed:
                    raise
                self._fail(item, "file-changed" if bytes_again.changed else f"not-stored ({error})")
                return
        self.outcome.imported += 1
        self.outcome.imported_bytes += item.content.size_bytes
        self._progress(STORING, self.outcome.imported, None)


def _listing_row(item: _Item) -> ListingRow:
    state, rule, manifest = RowState.TO_READ, None, None
    if item.content is None:
        state, rule = RowState.UNREADABLE, item.failure
    elif item.known is not None:
        state, manifest = RowState.KNOWN, item.known.manifest
    return ListingRow(
        raw_path=item.file.raw_path,
        size_bytes=item.file.size_bytes if item.content is None else item.content.size_bytes,
        modified_at=item.file.modified_at,
        state=state,
        rule=rule,
        manifest=manifest,
    )


class _Again:
    """The bytes of a file for the second time; ``changed`` when they are fewer than before, or gone."""

    def __init__(self, file: FoundFile, size_bytes: int) -> None:
        self._file = file
        self._size_bytes = size_bytes
        self.changed = False

    async def blocks(self) -> AsyncIterator[bytes]:
        left, rest = self._size_bytes, blocks_of(self._file)
        try:
            while left and (block := await asyncio.to_thread(next, rest, b"")):
                yield block[:left]
                left -= len(block[:left])
        except OSError:
            self.changed = True
            raise
        if left:
            self.changed = True
            raise OSError(f"{self._file.path} has become shorter")
