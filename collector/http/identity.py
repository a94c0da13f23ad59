"""Who sends a request: a station by its client certificate, or the holder of a bearer token.

The middleware finds out once; handlers ask ``station_of`` or ``principal_of``. A certificate alone is not enough: it
names a key, and that key must be the newest of its station, enrolled in the log and not revoked. So the certificate
of a key that was revoked or replaced opens nothing, whatever the station of that name is enrolled with now.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from cryptography import x509
from cryptography.x509.oid import NameOID

from collector.catalogue import Catalogue
from collector.catalogue.errors import ScopeMissingError
from collector.core.access import Allow, Deny, Principal, StationPrincipal, TokenPrincipal
from collector.errors import NotAllowedError, NotAuthenticatedError
from collector.http.uploads import Uploader
from protocol.enrolment import certified_key
from protocol.errors import EnrolmentError

_BEARER: Final = "Bearer "


@dataclass(frozen=True, slots=True)
class Identity:
    """Outcome of looking: a principal, or a station that has a certificate and no valid enrolment, or nobody."""

    principal: Principal | None = None
    is_unenrolled_station: bool = False


_IDENTITY: Final = web.RequestKey("identity", Identity)

FindToken = Callable[[str, datetime], TokenPrincipal | None]
"""The holder of a token's text at a time, None if it opens nothing. Blocks."""


def identifying(catalogue: Catalogue, find_token: FindToken, clock: Callable[[], datetime]) -> Middleware:
    """The middleware. It refuses nobody: open routes stay open."""

    async def identify(request: web.Request) -> Identity:
        name = _common_name(request)
        if name is not None:
            key_id = certified_key(name)
            key = None if key_id is None else await asyncio.to_thread(catalogue.station_with, key_id)
            if key is None:
                return Identity(is_unenrolled_station=True)
            return Identity(StationPrincipal(name=key.name, agencies=key.agencies))
        header = request.headers.get("Authorization", "")
        if not header.startswith(_BEARER):
            return Identity()
        return Identity(await asyncio.to_thread(find_token, header.removeprefix(_BEARER).strip(), clock()))

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        request[_IDENTITY] = await identify(request)
        return await handler(request)

    return middleware


def _common_name(request: web.Request) -> str | None:
    """The common name of the client certificate, which TLS has verified against our CA; None without one."""
    tls = None if request.transport is None else request.transport.get_extra_info("ssl_object")
    certificate = tls.getpeercert(binary_form=True) if isinstance(tls, ssl.SSLObject) else None
    if certificate is None:
        return None
    names = x509.load_der_x509_certificate(certificate).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else None


def is_known(request: web.Request) -> bool:
    """Whether the sender has shown an enrolled station's certificate or a good token."""
    return request[_IDENTITY].principal is not None


def principal_of(request: web.Request) -> Principal:
    """Raises NotAuthenticatedError, or EnrolmentError for a certificate whose station is not enrolled."""
    identity = request[_IDENTITY]
    if identity.is_unenrolled_station:
        raise EnrolmentError("this station is not enrolled, or its key was revoked")
    if identity.principal is None:
        raise NotAuthenticatedError("a station's certificate or a valid token is needed")
    return identity.principal


def allowed_holder(
    principal: Principal, decision: Allow | Deny
) -> tuple[TokenPrincipal, frozenset[str] | None]:
    """Whoever holds the token, and for which agencies (None: all). Raises ScopeMissingError, NotAllowedError."""
    if isinstance(decision, Deny):
        missing = decision.code == ScopeMissingError.code
        raise (ScopeMissingError if missing else NotAllowedError)(decision.message)
    if not isinstance(principal, TokenPrincipal):
        raise NotAllowedError("only holders of tokens do this")
    return principal, decision.agencies


def station_of(request: web.Request) -> StationPrincipal:
    """As ``principal_of``; raises NotAllowedError for anybody but a station."""
    principal = principal_of(request)
    if not isinstance(principal, StationPrincipal):
        raise NotAllowedError("only stations do this, with their certificate")
    return principal


def uploader_of(request: web.Request) -> Uploader:
    """A station as the sender of uploads."""
    station = station_of(request)
    return Uploader(owner=station.name, agencies=station.agencies)
