"""The operations of the query API and on findings: what ``queries`` and ``explanations`` accept and what the OpenAPI
document says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from collector.catalogue import MAX_PAGE
from collector.core.findings import KINDS
from collector.database.columns import MAX_NAME_CHARS
from collector.http import schemas
from collector.http.openapi import DIGEST, Content, Operation, Parameter, Security
from collector.http.parameters import DEFAULT_PAGE

_READERS: Final[tuple[Security, ...]] = ("token", "certificate")
_TIME: Final = {"type": "string", "format": "date-time"}
_NAME: Final = {"type": "string", "minLength": 1, "maxLength": MAX_NAME_CHARS}

_VISIT: Final = {"type": "string", "pattern": "^[0-9a-f]{32}$"}

_LIMIT: Final = Parameter(
    name="limit",
    where="query",
    schema={"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": DEFAULT_PAGE},
    description="Most rows of one answer.",
)


def _query(name: str, schema: Mapping[str, object], description: str) -> Parameter:
    return Parameter(name=name, where="query", schema=schema, description=description)


_LIST: Final = (
    _query("agency", {"type": "string"}, "Only this agency."),
    _query("recorder", _NAME, "The recorder's number, as claimed."),
    _query("officer", _NAME, "The officer's number, as claimed."),
    _query("started_from", _TIME, "Started at this time or later; leaves out clips of unknown start."),
    _query("started_before", _TIME, "Started before this time; leaves out clips of unknown start."),
    _query("stored", {"type": "boolean"}, "Only clips whose bytes are, or are not, stored."),
    _query("cursor", {"type": "string"}, "next_cursor of the page before, with the same other parameters."),
    _LIMIT,
)

CLIPS: Final = Operation(
    method="GET",
    path="/api/v1/clips",
    id="listClips",
    summary="Clips, newest start first.",
    answers={200: Content(struct=schemas.ClipPage)},
    security=_READERS,
    parameters=(_query("digest", DIGEST, "Only clips with these bytes."), *_LIST),
)
CLIP: Final = Operation(
    method="GET",
    path="/api/v1/clips/{manifest}",
    id="getClip",
    summary="One clip, by the statement id of its manifest.",
    answers={200: Content(struct=schemas.Clip), 304: None},
    security=_READERS,
    parameters=(
        Parameter(name="manifest", where="path", schema=DIGEST, description="Statement id of the manifest."),
    ),
)
CLIPS_OF_ORIGINAL: Final = Operation(
    method="GET",
    path="/api/v1/originals/{digest}/clips",
    id="listClipsOfOriginal",
    summary="Which clips have these bytes.",
    answers={200: Content(struct=schemas.ClipPage)},
    security=_READERS,
    parameters=(
        Parameter(name="digest", where="path", schema=DIGEST, description="Digest of the original."),
        *_LIST,
    ),
)
INVENTORY: Final = Operation(
    method="GET",
    path="/api/v1/visits/{visit}/inventory",
    id="getVisitInventory",
    summary="Where every file is that a recorder had at a visit.",
    answers={200: Content(struct=schemas.Visit), 304: None},
    security=_READERS,
    parameters=(
        Parameter(
            name="visit",
            where="path",
            schema=_VISIT,
            description="The visit.",
        ),
    ),
)
CUSTODY: Final = Operation(
    method="GET",
    path="/api/v1/custody/{digest}",
    id="listCustodyEvents",
    summary="Custody events of an original, a rendition or an inventory, in log order.",
    answers={200: Content(struct=schemas.CustodyPage)},
    security=_READERS,
    parameters=(
        Parameter(name="digest", where="path", schema=DIGEST, description="The item."),
        _query("after", {"type": "integer", "minimum": 0}, "next_after of the page before."),
        _LIMIT,
    ),
)
FINDINGS: Final = Operation(
    method="GET",
    path="/api/v1/findings",
    id="listFindings",
    summary="Findings of the conservation of clips, newest first.",
    answers={200: Content(struct=schemas.FindingPage)},
    security=_READERS,
    parameters=(
        _query("agency", {"type": "string"}, "Only this agency."),
        _query("station", {"type": "string"}, "Only what this station listed."),
        _query("recorder", _NAME, "The recorder's number, as claimed."),
        _query("visit", _VISIT, "Only this visit."),
        _query("code", {"enum": sorted(KINDS)}, "Only this code."),
        _query("open", {"type": "boolean"}, "Only findings that are, or are not, open."),
        _query("opened_from", _TIME, "Evident at this time or later, by the collector's clock."),
        _query("opened_before", _TIME, "Evident before this time."),
        _query(
            "cursor", {"type": "string"}, "next_cursor of the page before, with the same other parameters."
        ),
        _LIMIT,
    ),
)
_FINDING: Final = Parameter(name="finding", where="path", schema=DIGEST, description="Id of the finding.")
FINDING: Final = Operation(
    method="GET",
    path="/api/v1/findings/{finding}",
    id="getFinding",
    summary="One finding by its id.",
    answers={200: Content(struct=schemas.Finding), 304: None},
    security=_READERS,
    parameters=(_FINDING,),
)
_SAID: Final = {200: Content(struct=schemas.Explanation), 201: Content(struct=schemas.Explanation)}
EXPLAIN: Final = Operation(
    method="POST",
    path="/api/v1/findings/{finding}/explanation",
    id="explainFinding",
    summary="Answer for a finding; 200 where the same stands already.",
    body=Content(struct=schemas.Wish),
    answers=_SAID,
    security=("token",),
    parameters=(_FINDING,),
)
WITHDRAW: Final = Operation(
    method="POST",
    path="/api/v1/findings/{finding}/explanation/withdrawal",
    id="withdrawExplanation",
    summary="Withdraw the explanation that stands; 200 where this was the last word already.",
    body=Content(struct=schemas.Wish),
    answers=_SAID,
    security=("token",),
    parameters=(_FINDING,),
)
OPENAPI: Final = Operation(
    method="GET",
    path="/api/v1/openapi.json",
    id="getOpenapi",
    summary="This document.",
    answers={200: Content(), 304: None},
    security=(),
)

QUERY_OPERATIONS: Final = (
    CLIPS,
    CLIP,
    CLIPS_OF_ORIGINAL,
    INVENTORY,
    CUSTODY,
    FINDINGS,
    FINDING,
    EXPLAIN,
    WITHDRAW,
    OPENAPI,
)
