"""A running site with evidence in it, and everybody who might knock at its collector: stations, strangers, viewers."""

from __future__ import annotations

import contextlib
import secrets
import ssl
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Final

from agent.keys.enrolment import Enrolment
from agent.keys.station_keys import StationKeys, tls_key_to_pem
from agent.keys.store import FileKeyStore
from collector.ca import CertificateAuthority
from protocol.dsse import Envelope
from protocol.statements import Header, Inventory, Manifest, Rendition, Statement, sign_statement
from protocol.upload import UPLOAD_METADATA, UPLOADS_PATH, format_metadata
from tests.support import evidence
from tests.support.audit import Auditor, Said, audit_site
from tests.support.cards import clip_name, files_of, make_card
from tests.support.media_lab import make_h264, photograph
from tests.support.processes import STATION, Reply, Site, ask, open_site

OWN: Final = "jing-an"
FOREIGN: Final = "pu-tuo"
"""An agency of the same collector for which the station may not speak."""


@dataclass(frozen=True, kw_only=True)
class Furnished:
    """``docked`` are the files on the station's one card."""

    site: Site
    docked: Counter[tuple[str, str]]
    folder: Path
    tokens: dict[tuple[str, ...], str] = field(default_factory=dict)

    def audit(self) -> Auditor:
        return audit_site(self.site, self.docked)

    def said(self) -> list[Said]:
        config = self.site.collector.config
        return Auditor(config.log_dir, config.objects_dir).said

    def said_since(self, size: int) -> list[Statement]:
        return [said.statement for said in self.said()[size:]]

    @cached_property
    def clip(self) -> Manifest:
        """The manifest of the one clip that is a real video."""
        renditions = (said.statement for said in self.said() if isinstance(said.statement, Rendition))
        wanted = next(made.manifest for made in renditions if made.rendition == "playable" and made.rendered)
        return next(
            said.statement
            for said in self.said()
            if said.id == wanted and isinstance(said.statement, Manifest)
        )

    @cached_property
    def playable(self) -> Rendition:
        """The rendition of that clip a browser plays."""
        return next(
            said.statement
            for said in self.said()
            if isinstance(said.statement, Rendition)
            and said.statement.original == self.clip.digest
            and said.statement.rendition == "playable"
        )

    @cached_property
    def content(self) -> bytes:
        """That clip's bytes, as they were on the card."""
        return (self.folder / "card" / self.clip.path).read_bytes()

    def token(self, name: str, *scopes: str) -> str:
        """One token for each name and set of scopes."""
        return self.tokens.setdefault((name, *scopes), self.site.collector.token(name, *scopes))

    # --- who knocks

    @property
    def enrolment(self) -> Enrolment:
        enrolment = self._keys.load_enrolment()
        assert enrolment is not None
        return enrolment

    @property
    def _keys(self) -> FileKeyStore:
        return FileKeyStore(self.site.station.folder / "keys")

    @property
    def seed(self) -> bytes:
        """The enrolled station's own signing key."""
        return self._keys.ensure_keys().seed

    def as_station(self) -> ssl.SSLContext:
        return self._keys.client_context()

    def as_unenrolled(self) -> ssl.SSLContext:
        """A certificate of the right CA, for a station that no entry of the log enrols."""
        return self._with_certificate_of(
            self.site.collector.config.trust.load(), StationKeys.generate().key_id
        )

    def as_stranger(self) -> ssl.SSLContext:
        """A certificate for the station's own key, of another CA."""
        return self._with_certificate_of(
            CertificateAuthority.create(datetime.now(UTC)), self._keys.ensure_keys().key_id
        )

    def _with_certificate_of(self, authority: CertificateAuthority, key_id: str) -> ssl.SSLContext:
        keys, name = StationKeys.generate(), key_id[-8:]
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate.write_bytes(
            authority.issue_station(keys.certificate_request(name), key_id, datetime.now(UTC))
        )
        key.write_bytes(tls_key_to_pem(keys.tls_key))
        context = ssl.create_default_context(cafile=str(self.site.collector.config.trust.ca_certificate))
        context.load_cert_chain(certificate, key)
        return context

    # --- what they want

    def inventory(self, agency: str = OWN, signer: str = STATION) -> Inventory:
        header = Header(
            agency=agency, signer=signer, issued_at=datetime.now(UTC), nonce=secrets.token_hex(16)
        )
        return replace(evidence.inventory(), header=header)

    def announce(self, context: ssl.SSLContext, envelope: Envelope, **headers: str) -> Reply:
        body = b'{"envelopes":[' + envelope.to_bytes() + b"]}"
        return self.post("/api/v1/statements", context, headers, body)

    def announce_something(self, context: ssl.SSLContext, **headers: str) -> Reply:
        return self.announce(context, sign_statement(self.inventory(), self.seed), **headers)

    def begin_upload(self, context: ssl.SSLContext, agency: str = OWN, **headers: str) -> Reply:
        metadata = format_metadata({"purpose": b"original", "agency": agency.encode()})
        tus = {"Tus-Resumable": "1.0.0", "Upload-Length": "5", UPLOAD_METADATA: metadata}
        return self.post(UPLOADS_PATH, context, {**tus, **headers})

    def post(
        self, path: str, context: ssl.SSLContext, headers: Mapping[str, str], body: bytes = b""
    ) -> Reply:
        return ask(self.site.collector.config.url + path, context, method="POST", headers=headers, body=body)

    def get(self, path: str, context: ssl.SSLContext, method: str = "GET", **headers: str) -> Reply:
        return ask(self.site.collector.config.url + path, context, method=method, headers=headers)


@contextlib.contextmanager
def furnish(folder: Path) -> Iterator[Furnished]:
    """One station that speaks for one of the collector's two agencies; a clip, a photo and noise are stored."""
    card = make_card(folder / "card", [250_000, 120_000], seed=11)
    make_h264(card / clip_name("ZFY0001", 10), "-c:a", "aac")
    (card / clip_name("ZFY0001", 11, "jpg")).write_bytes(photograph())
    with open_site(folder / "site", agencies=(OWN, FOREIGN)) as site:
        site.start()
        site.station.dock(card)
        site.wait_done()
        yield Furnished(site=site, docked=files_of(card), folder=folder)
