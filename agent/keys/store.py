"""Where the station's keys and its enrolment are kept: the port and its file implementation.

Guarantee: keys are made once and are durable before anybody outside hears of them, so that an enrolment whose
answer was lost can be asked for again with the same keys.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final, Protocol

from agent.keys.enrolment import Enrolment, trusting_context
from agent.keys.errors import KeyFileDamagedError, KeyLostError, NotEnrolledError
from agent.keys.files import load_private, store_file
from agent.keys.station_keys import (
    StationKeys,
    seed_from_pem,
    seed_to_pem,
    tls_key_from_pem,
    tls_key_to_pem,
)
from protocol.errors import ProtocolError

_SIGNING_KEY: Final = "signing.key"
_TLS_KEY: Final = "tls.key"
_CERTIFICATE: Final = "station.pem"
_ENROLMENT: Final = "enrolment.json"


class KeyStore(Protocol):
    """The station's keys and enrolment (密钥库). Calls block briefly; every error is a KeyStoreError or OSError."""

    def ensure_keys(self) -> StationKeys:
        """The keys, made and kept durably at the first call. KeyLostError if enrolled keys are gone."""
        ...

    def load_enrolment(self) -> Enrolment | None:
        """None before ``store_enrolment``."""
        ...

    def store_enrolment(self, enrolment: Enrolment) -> None:
        """Keep it durably, in place of an older one."""
        ...

    def client_context(self, minimum_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
        """TLS to the collector with the station's certificate. Raises NotEnrolledError before the enrolment."""
        ...


class FileKeyStore:
    """Files in one folder (0700), every one 0600: two PKCS #8 keys, the certificate, the enrolment."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def ensure_keys(self) -> StationKeys:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = StationKeys.generate()
        signing = self._ensure(_SIGNING_KEY, seed_to_pem(fresh.seed))
        tls = self._ensure(_TLS_KEY, tls_key_to_pem(fresh.tls_key))
        return StationKeys(
            seed=seed_from_pem(signing, self._where(_SIGNING_KEY)),
            tls_key=tls_key_from_pem(tls, self._where(_TLS_KEY)),
        )

    def load_enrolment(self) -> Enrolment | None:
        data = load_private(self._folder / _ENROLMENT)
        if data is None:
            return None
        try:
            return Enrolment.from_bytes(data)
        except ProtocolError as error:
            raise KeyFileDamagedError(f"{self._where(_ENROLMENT)} is damaged: {error}") from error

    def store_enrolment(self, enrolment: Enrolment) -> None:
        # the certificate first: enrolment.json is what makes the station count as enrolled
        store_file(self._folder / _CERTIFICATE, enrolment.certificate_pem.encode())
        store_file(self._folder / _ENROLMENT, enrolment.to_bytes())

    def client_context(self, minimum_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
        enrolment = self.load_enrolment()
        if enrolment is None:
            raise NotEnrolledError("the station is not enrolled: it has no certificate")
        self.ensure_keys()  # refuses keys that are lost or open to others
        context = trusting_context(enrolment.ca_pem, minimum_version)
        try:
            context.load_cert_chain(self._folder / _CERTIFICATE, self._folder / _TLS_KEY)
        except (OSError, ssl.SSLError) as error:
            raise KeyFileDamagedError(f"{self._where(_CERTIFICATE)} does not fit its key: {error}") from error
        return context

    def _ensure(self, name: str, fresh: bytes) -> bytes:
        stored = load_private(self._folder / name)
        if stored is not None:
            return stored
        if (self._folder / _ENROLMENT).exists():
            raise KeyLostError(f"{self._where(name)} is gone although the station is enrolled: enrol it anew")
        store_file(self._folder / name, fresh)
        return fresh

    def _where(self, name: str) -> str:
        return str(self._folder / name)
