"""The station's key store in memory: a real implementation without a disk."""

from __future__ import annotations

import os
import ssl

from agent.keys.enrolment import Enrolment, trusting_context
from agent.keys.errors import NotEnrolledError
from agent.keys.station_keys import StationKeys, tls_key_to_pem


class MemoryKeyStore:
    """Satisfies ``agent.keys.store.KeyStore``."""

    def __init__(self) -> None:
        self._keys: StationKeys | None = None
        self._enrolment: Enrolment | None = None

    def ensure_keys(self) -> StationKeys:
        self._keys = self._keys or StationKeys.generate()
        return self._keys

    def load_enrolment(self) -> Enrolment | None:
        return self._enrolment

    def store_enrolment(self, enrolment: Enrolment) -> None:
        self._enrolment = enrolment

    def client_context(self, minimum_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
        if self._enrolment is None:
            raise NotEnrolledError("the station is not enrolled: it has no certificate")
        context = trusting_context(self._enrolment.ca_pem, minimum_version)
        chain = self._enrolment.certificate_pem.encode() + tls_key_to_pem(self.ensure_keys().tls_key)
        with os.fdopen(os.memfd_create("chain"), "wb") as file:
            file.write(chain)
            file.flush()
            context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")
        return context
