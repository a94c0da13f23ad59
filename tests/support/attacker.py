"""What an attacker on the network has: raw bytes over TLS, and an enrolled station that says what it likes."""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from protocol.digest import Digest
from protocol.dsse import Envelope
from protocol.statements import Header, Inventory, Manifest, Statement, sign_statement, statement_id
from tests.support.processes import CollectorHost, Reply, ask, call

_MOST_SHOWN_BYTES = 262_144


def raw_request(collector: CollectorHost, data: bytes, *, context: ssl.SSLContext | None = None) -> bytes:
    """Send bytes as they are and read what comes until the other side closes."""
    plain = socket.create_connection(("127.0.0.1", collector.config.http_port), timeout=20)
    received = b""
    with (context or collector.context).wrap_socket(plain, server_hostname="127.0.0.1") as line:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            line.sendall(data)  # who is refused early is not read to the end
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while len(received) < _MOST_SHOWN_BYTES and (piece := line.recv(65_536)):
                received += piece
    return received


def raw_get(collector: CollectorHost, target: str, *headers: str) -> tuple[int, bytes]:
    """Status and body of one GET with the target spelled exactly so."""
    lines = [f"GET {target} HTTP/1.1", "Host: collector", "Connection: close", *headers, "", ""]
    return split_answer(raw_request(collector, "\r\n".join(lines).encode("latin-1")))


def split_answer(answer: bytes) -> tuple[int, bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), body


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolledStation:
    """A station's credentials in hostile hands."""

    name: str
    agency: str
    collector: CollectorHost
    keys: Path
    context: ssl.SSLContext
    seed: bytes

    @classmethod
    def enrol(cls, collector: CollectorHost, folder: Path, name: str, agency: str) -> EnrolledStation:
        """Enrolled as honest stations are."""
        call("zhilu-agent", "enroll", "--data", str(folder), collector.enrolment_code(name, agency))
        keys = folder / "keys"
        context = ssl.create_default_context(cafile=str(collector.config.trust.ca_certificate))
        context.load_cert_chain(keys / "station.pem", keys / "tls.key")
        key = load_pem_private_key((keys / "signing.key").read_bytes(), password=None)
        assert isinstance(key, Ed25519PrivateKey)
        return cls(
            name=name,
            agency=agency,
            collector=collector,
            keys=keys,
            context=context,
            seed=key.private_bytes_raw(),
        )

    def header(
        self, *, agency: str | None = None, signer: str | None = None, at: datetime | None = None
    ) -> Header:
        return Header(
            agency=agency or self.agency,
            signer=signer or self.name,
            issued_at=at or datetime.now(UTC),
            nonce=secrets.token_hex(16),
        )

    def ask(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Reply:
        """One request with the station's certificate; underscores in header names are hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return ask(self.collector.config.url + path, self.context, method=method, headers=named, body=body)

    def say(self, *statements: Statement) -> list[dict[str, Any]]:
        """Sign and submit; the results of the admission, in order."""
        return self.submit(*(sign_statement(statement, self.seed) for statement in statements))

    def submit(self, *envelopes: Envelope) -> list[dict[str, Any]]:
        body = json.dumps({"envelopes": [envelope.to_json() for envelope in envelopes]}).encode()
        reply = self.ask("/api/v1/statements", "POST", body, Content_Type="application/json")
        assert reply.status == 200, reply.body
        results: list[dict[str, Any]] = json.loads(base64.b64decode(reply.json()["payload"]))["results"]
        return results

    def id_of(self, statement: Statement) -> Digest:
        return statement_id(sign_statement(statement, self.seed))

    def upload(self, content: bytes, *, agency: str | None = None, purpose: str = "original") -> Reply:
        """A whole upload in one request."""
        coded = base64.b64encode((agency or self.agency).encode()).decode()
        metadata = f"agency {coded},purpose {base64.b64encode(purpose.encode()).decode()}"
        return self.ask(
            "/api/v1/uploads",
            "POST",
            content,
            Tus_Resumable="1.0.0",
            Upload_Length=str(len(content)),
            Upload_Metadata=metadata,
            Content_Type="application/offset+octet-stream",
        )

    def inventory(self, **changes: Any) -> Inventory:
        """Of one file, with an empty listing."""
        values: dict[str, Any] = {
            "header": self.header(),
            "listing": Digest.of(b""),
            "listing_size_bytes": 0,
            "rows": 1,
            "listed_bytes": 1,
            "visit": secrets.token_hex(16),
            "sequence": 1,
            "dock": "folder",
            "bay": "bay-1",
            "profile": "generic@1",
            "volume_label": None,
            "total_bytes": None,
            "free_bytes": None,
            "battery_percent": None,
            "recorder": None,
            "officer": None,
            "clock": None,
        }
        return Inventory(**(values | changes))

    def manifest(self, content: bytes, inventory: Digest, visit: str, **changes: Any) -> Manifest:
        now = datetime.now(UTC)
        values: dict[str, Any] = {
            "header": self.header(),
            "digest": Digest.of(content),
            "size_bytes": len(content),
            "inventory": inventory,
            "visit": visit,
            "row": 0,
            "path": "DCIM/1.MP4",
            "path_bytes": b"DCIM/1.MP4",
            "media_type": "video/mp4",
            "modified_at": None,
            "recorder": None,
            "officer": None,
            "started_at": None,
            "marked": False,
            "read_started_at": now,
            "read_finished_at": now,
            "attempts": 1,
            "resumed": False,
        }
        return Manifest(**(values | changes))
