"""What a station keeps of its enrolment: whom it trusts, who it is, where to connect."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Final, Self

from protocol import ed25519
from protocol.canonical import Fields, Json, canonical, parse_json
from protocol.enrolment import MAX_PEM_CHARS, EnrolmentResponse, MqttAddress
from protocol.enrolment_code import EnrolmentCode, check_origin, parse_agencies
from protocol.errors import MalformedError
from protocol.limits import MAX_MESSAGE_BYTES
from protocol.lines import encode_base64
from protocol.note import VerifierKey

_VERSION: Final = 1

_NO_CHECK_TIME: Final = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """The outcome of an enrolment (注册信息), one file; nothing in it is secret."""

    url: str
    log_key: VerifierKey
    station: str
    agencies: tuple[str, ...]
    collector_public_key: bytes
    mqtt: MqttAddress
    certificate_pem: str
    ca_pem: str
    enrolled: dict[str, Json]

    @classmethod
    def of(cls, code: EnrolmentCode, response: EnrolmentResponse) -> Self:
        """From a response that was verified against the code."""
        return cls(
            url=code.url,
            log_key=code.log_key,
            station=response.station,
            agencies=response.agencies,
            collector_public_key=response.collector_public_key,
            mqtt=response.mqtt,
            certificate_pem=response.certificate_pem,
            ca_pem=response.ca_pem,
            enrolled=response.enrolled,
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The inverse of ``to_bytes``. Raises ProtocolError."""
        fields = Fields(parse_json(data, max_bytes=2 * MAX_MESSAGE_BYTES, what="enrolment"), "enrolment")
        fields.integer("v", minimum=_VERSION, maximum=_VERSION)
        enrolled = fields.raw("enrolled")
        if not isinstance(enrolled, dict):
            raise MalformedError("enrolment: enrolled must be an object")
        url = fields.text("url")
        check_origin(url)
        return cls(
            url=url,
            log_key=VerifierKey.parse(fields.text("log_vkey")),
            station=fields.text("station"),
            agencies=parse_agencies(fields),
            collector_public_key=fields.binary("collector_public_key", max_bytes=ed25519.PUBLIC_KEY_BYTES),
            mqtt=MqttAddress.from_fields(fields.object("mqtt")),
            certificate_pem=fields.text("certificate_pem", max_chars=MAX_PEM_CHARS),
            ca_pem=fields.text("ca_pem", max_chars=MAX_PEM_CHARS),
            enrolled=enrolled,
        )

    def to_bytes(self) -> bytes:
        return canonical(
            {
                "v": _VERSION,
                "url": self.url,
                "log_vkey": str(self.log_key),
                "station": self.station,
                "agencies": list(self.agencies),
                "collector_public_key": encode_base64(self.collector_public_key),
                "mqtt": self.mqtt.to_json(),
                "certificate_pem": self.certificate_pem,
                "ca_pem": self.ca_pem,
                "enrolled": self.enrolled,
            }
        )


def trusting_context(ca_pem: str, minimum_version: ssl.TLSVersion) -> ssl.SSLContext:
    """TLS to the collector: this CA and no other, host name checked, dates of certificates not.

    A station whose clock died must still deliver, and would take every certificate for not yet valid. Little is
    given up: the CA signs for one collector only, and trust in what is said rests on the log, not on dates.
    """
    context = ssl.create_default_context(cadata=ca_pem)
    context.minimum_version = minimum_version
    context.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)
    return context
