"""The operations beside the query API, as the OpenAPI document says them: stations, footage, the log, upkeep.

Their bodies have specifications of their own (DSSE, tus, C2SP tlog-tiles, ``docs/formats.md``), so only their media
types are named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from collector.http.openapi import DIGEST, TEXT, Content, Operation, Parameter, Security
from protocol.receipt import RECEIPT_TYPE
from protocol.upload import UPLOADS_PATH

_STATION: Final[Sequence[Security]] = ("certificate",)
_VIEWER: Final[Sequence[Security]] = ("token",)
_OPEN: Final[Sequence[Security]] = ()
_TEXT: Final = Content(media_type="text/plain")
_BYTES: Final = Content(media_type="application/octet-stream")
_PART: Final = Content(media_type="application/offset+octet-stream")


def _path(name: str, schema: Mapping[str, object], description: str) -> Parameter:
    return Parameter(name=name, where="path", schema=schema, description=description)


_UPLOAD: Final = (_path("upload_id", TEXT, "The upload, as Location named it."),)
_ITEM: Final = (_path("digest", DIGEST, "Digest of the bytes."),)
_SIZE: Final = {"type": "integer", "minimum": 0}

_STATIONS: Final = (
    Operation(
        method="GET",
        path="/api/v1/ca",
        id="getCertificateAuthority",
        summary="The certificate of the collector's CA; the enrolment code has its fingerprint.",
        answers={200: Content(media_type="application/x-pem-file")},
        security=_OPEN,
    ),
    Operation(
        method="POST",
        path="/api/v1/enrolments",
        id="enrolStation",
        summary="Enrol a station with its one-time secret.",
        body=Content(),
        answers={200: Content()},
        security=_OPEN,
    ),
    Operation(
        method="POST",
        path="/api/v1/statements",
        id="submitStatements",
        summary="Submit statements; the answer is the collector's signed admission.",
        body=Content(),
        answers={200: Content(media_type="application/vnd.dsse.envelope.v1+json")},
        security=_STATION,
    ),
    Operation(
        method="POST",
        path="/api/v1/receipts",
        id="getReceipts",
        summary="The receipts for what many statements promise, all under one checkpoint.",
        body=Content(),
        answers={200: Content()},
        security=_STATION,
    ),
    Operation(
        method="GET",
        path="/api/v1/receipts/{statement}",
        id="getReceipt",
        summary="The receipt for the bytes a statement promises.",
        answers={200: Content(media_type=RECEIPT_TYPE)},
        security=_STATION,
        parameters=(_path("statement", DIGEST, "Statement id."),),
    ),
)

_UPLOADS: Final = (
    Operation(
        method="OPTIONS",
        path=UPLOADS_PATH,
        id="getUploadAbilities",
        summary="What of tus 1.0.0 is spoken here.",
        answers={204: None},
        security=_OPEN,
    ),
    Operation(
        method="POST",
        path=UPLOADS_PATH,
        id="createUpload",
        summary="Begin an upload (tus creation, creation-with-upload).",
        body=_PART,
        answers={201: None},
        security=_STATION,
    ),
    Operation(
        method="HEAD",
        path=f"{UPLOADS_PATH}/{{upload_id}}",
        id="getUploadOffset",
        summary="How much of an upload is durable (tus core).",
        answers={200: None},
        security=_STATION,
        parameters=_UPLOAD,
    ),
    Operation(
        method="PATCH",
        path=f"{UPLOADS_PATH}/{{upload_id}}",
        id="appendToUpload",
        summary="Send a part (tus core, checksum).",
        body=_PART,
        answers={204: None},
        security=_STATION,
        parameters=_UPLOAD,
    ),
    Operation(
        method="DELETE",
        path=f"{UPLOADS_PATH}/{{upload_id}}",
        id="endUpload",
        summary="Give up an upload that is not stored (tus termination).",
        answers={204: None},
        security=_STATION,
        parameters=_UPLOAD,
    ),
)

_FOOTAGE: Final = (
    Operation(
        method="GET",
        path="/api/v1/originals/{digest}",
        id="getOriginal",
        summary="The bytes of an original; viewing is a custody event. Ranges are answered.",
        answers={200: _BYTES, 206: _BYTES, 304: None},
        security=_VIEWER,
        parameters=_ITEM,
    ),
    Operation(
        method="GET",
        path="/api/v1/renditions/{digest}",
        id="getRendition",
        summary="The bytes of a rendition; viewing is a custody event. Ranges are answered.",
        answers={200: _BYTES, 206: _BYTES, 304: None},
        security=_VIEWER,
        parameters=_ITEM,
    ),
)

_LOG: Final = (
    Operation(
        method="GET",
        path="/log/checkpoint",
        id="getCheckpoint",
        summary="The newest checkpoint of the log (C2SP tlog-checkpoint).",
        answers={200: _TEXT},
        security=_OPEN,
    ),
    Operation(
        method="GET",
        path="/log/vkey",
        id="getLogKey",
        summary="The log's verifier key; trust it only if you have it from elsewhere too.",
        answers={200: _TEXT},
        security=_OPEN,
    ),
    Operation(
        method="GET",
        path="/log/tile/{path}",
        id="getTile",
        summary="A tile or entry bundle of the log (C2SP tlog-tiles).",
        answers={200: _BYTES},
        security=_OPEN,
        parameters=(_path("path", TEXT, "Level, index and width, with slashes."),),
    ),
    Operation(
        method="GET",
        path="/api/v1/log/consistency",
        id="getConsistencyProof",
        summary="That a later log continues an earlier one (RFC 6962 §2.1.2).",
        answers={200: Content()},
        security=_OPEN,
        parameters=(
            Parameter(name="from", where="query", schema=_SIZE, description="Earlier size."),
            Parameter(name="to", where="query", schema=_SIZE, description="Later size."),
        ),
    ),
)

_UPKEEP: Final = (
    Operation(
        method="GET",
        path="/healthz",
        id="getHealth",
        summary="Whether evidence can be taken in.",
        answers={200: Content(), 503: Content()},
        security=_OPEN,
    ),
    Operation(
        method="GET",
        path="/metrics",
        id="getMetrics",
        summary="Measurements for Prometheus.",
        answers={200: _TEXT},
        security=_OPEN,
    ),
)

API_OPERATIONS: Final = (*_STATIONS, *_UPLOADS, *_FOOTAGE, *_LOG, *_UPKEEP)
