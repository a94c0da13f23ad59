"""Every statement: its entry, its payload under the right digest, its signature, and a key that was valid there."""

from __future__ import annotations

from collector.audit.objects import AuditedObjects, ObjectName
from collector.audit.report import Tally
from collector.catalogue import LoggedStatement
from collector.errors import CollectorError, ObjectMissingError
from collector.objects import ObjectClass
from protocol.digest import Digest
from protocol.entry import KEY_KINDS, LogEntry
from protocol.errors import ProtocolError
from protocol.keyring import KeyRing
from protocol.statements import Statement, parse_statement


class StatementCheck:
    """Takes entries in log order. Those before ``since`` were audited before: of them only what is about keys is
    looked into, because the rest is judged by it."""

    def __init__(self, objects: AuditedObjects, tally: Tally, *, since: int = 0) -> None:
        self._objects = objects
        self._tally = tally
        self._since = since
        self._ring = KeyRing()

    def take(self, index: int, data: bytes) -> LoggedStatement | None:
        """What the entry says; its statement is None where the payload is gone. None for what is no entry."""
        with self._tally:
            try:
                entry = LogEntry.from_bytes(data)
            except ProtocolError as error:
                self._tally.problem(error.code, f"entry {index}", str(error))
                return None
            return LoggedStatement(index=index, entry=entry, statement=self._statement(index, entry))

    def _statement(self, index: int, entry: LogEntry) -> Statement | None:
        payload = self._payload(index, entry)
        if payload is None:
            return None
        try:
            statement = parse_statement(payload)
            if LogEntry.of(entry.envelope(payload), statement) != entry:
                self._tally.problem("entry-differs", f"entry {index}", "the entry is not its statement's")
                return None
            if index >= self._since or entry.kind in KEY_KINDS:
                self._ring.accept(index, entry.envelope(payload), statement)
        except ProtocolError as error:
            self._tally.problem(error.code, f"entry {index}", str(error))
            return None
        return statement

    def _payload(self, index: int, entry: LogEntry) -> bytes | None:
        name = ObjectName(agency=entry.agency, cls=ObjectClass.STATEMENTS, digest=entry.statement)
        try:
            payload = self._objects.read(name)
        except ObjectMissingError:
            self._tally.problem("object-missing", str(name), f"entry {index}: its payload is not there")
            return None
        except (CollectorError, ProtocolError) as error:
            self._tally.problem(error.code, str(name), f"entry {index}: {error}")
            return None
        self._tally.count(len(payload))
        if (actual := Digest.of(payload)) != entry.statement:
            self._tally.problem("object-altered", str(name), f"entry {index}: its payload is now {actual}")
            return None
        return payload
