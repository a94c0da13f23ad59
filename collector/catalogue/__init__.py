"""The catalogue (目录): tables made from the log's statements, and nothing else."""

from __future__ import annotations

from collector.catalogue.accounting import Accounting, InventoryAccount, Reason, VisitAccount
from collector.catalogue.catalogue import Catalogue
from collector.catalogue.clips import Clip, ClipFilter, ClipPage, ClipRendition, KnownBytes
from collector.catalogue.cursor import (
    Position,
    encode_cursor,
    encode_finding_cursor,
    parse_cursor,
    parse_finding_cursor,
)
from collector.catalogue.findings import FindingFilter, FindingPage, FindingState, RecordedFinding
from collector.catalogue.keys import StationKey
from collector.catalogue.listings import ListingReader
from collector.catalogue.presence import Presence
from collector.catalogue.projector import LoggedStatement
from collector.catalogue.promises import Promise
from collector.catalogue.reader import MAX_PAGE
from collector.catalogue.trail import CustodyEvent, Entry

__all__ = [
    "MAX_PAGE",
    "Accounting",
    "Catalogue",
    "Clip",
    "ClipFilter",
    "ClipPage",
    "ClipRendition",
    "CustodyEvent",
    "Entry",
    "FindingFilter",
    "FindingPage",
    "FindingState",
    "InventoryAccount",
    "KnownBytes",
    "ListingReader",
    "LoggedStatement",
    "Position",
    "Presence",
    "Promise",
    "Reason",
    "RecordedFinding",
    "StationKey",
    "VisitAccount",
    "encode_cursor",
    "encode_finding_cursor",
    "parse_cursor",
    "parse_finding_cursor",
]
