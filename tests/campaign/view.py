"""What lies on a collector's disk, read by nobody's leave: log, payloads, objects; and what a verdict is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from collector.config import CollectorConfig
from protocol.checkpoint import open_checkpoint
from protocol.digest import Digest
from protocol.entry import LogEntry
from protocol.errors import ProtocolError
from protocol.keyring import KeyRing
from protocol.listing import ListingRow, parse_listing
from protocol.log_reading import LogCopy, check_entries, read_entries
from protocol.note import VerifierKey
from protocol.statements import (
    Inventory,
    Manifest,
    Rendition,
    Statement,
    parse_statement,
)
from protocol.tiles import Tile

LOST: Final = "lost"
ALTERED: Final = "altered"
RELEASED: Final = "released without receipt"
UNEXPLAINED: Final = "unexplained"
VERDICTS: Final = (LOST, ALTERED, RELEASED, UNEXPLAINED)


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must not be."""

    kind: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One statement in the log."""

    index: int
    id: Digest
    agency: str
    statement: Statement


class CollectorView:
    """What lies on the collector's disk. ``problems`` are what kept it from being read."""

    def __init__(self, config: CollectorConfig, log_key: VerifierKey) -> None:
        self._config = config
        self.problems: list[Violation] = []
        self.said: list[Said] = []
        self.copy = LogCopy((config.log_dir / "checkpoint").read_bytes(), self._tile)
        try:
            self._read(open_checkpoint(self.copy.checkpoint, log_key).size, log_key)
        except (ProtocolError, OSError) as error:
            self.problems.append(Violation(ALTERED, f"the log cannot be read: {error!r}"))

    def _tile(self, tile: Tile) -> bytes:
        return (self._config.log_dir / tile.path).read_bytes()

    def _read(self, size: int, log_key: VerifierKey) -> None:
        check_entries(self.copy, [open_checkpoint(self.copy.checkpoint, log_key)], {})
        ring = KeyRing()
        for index, data in read_entries(self.copy, 0, size, size):
            entry = LogEntry.from_bytes(data)
            payload = self.object(entry.agency, "statements", entry.statement)
            if payload is None:
                self.problems.append(Violation(LOST, f"payload of entry {index}, a {entry.kind}"))
                continue
            statement = parse_statement(payload)
            ring.accept(index, entry.envelope(payload), statement)
            self.said.append(Said(index=index, id=entry.statement, agency=entry.agency, statement=statement))

    def object(self, agency: str, folder: str, digest: Digest) -> bytes | None:
        """Bytes of an object if it is there and is what its name says."""
        name = digest.hex
        try:
            data = (self._config.objects_dir / agency / folder / name[:2] / name[2:4] / name).read_bytes()
        except FileNotFoundError:
            return None
        if Digest.of(data) != digest:
            self.problems.append(Violation(ALTERED, f"object {folder}/{name[:12]} has other bytes"))
            return None
        return data

    def promises(self) -> dict[Digest, tuple[str, str, Digest, int]]:
        """By statement id: agency, folder, digest and size of every promised blob."""
        promised = {}
        for said in self.said:
            match said.statement:
                case Inventory(listing=digest, listing_size_bytes=size):
                    promised[said.id] = (said.agency, "listings", digest, size)
                case Manifest(digest=digest, size_bytes=size):
                    promised[said.id] = (said.agency, "originals", digest, size)
                case Rendition(rendered=rendered) if rendered is not None:
                    promised[said.id] = (said.agency, "renditions", rendered.digest, rendered.size_bytes)
        return promised

    def rows(self, said: Said, inventory: Inventory) -> list[ListingRow]:
        data = self.object(said.agency, "listings", inventory.listing)
        return [] if data is None else list(parse_listing([data]))
