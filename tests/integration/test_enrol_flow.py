"""Does a station get its certificate from the right collector only, and can a broken enrolment be repeated?"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest

from agent.enrol import enrol
from agent.enrol_errors import (
    AlreadyEnrolledError,
    AnswerInvalidError,
    ClockWrongError,
    CodeExpiredError,
    CodeInvalidError,
    CodeUnknownError,
    CodeUsedError,
    CollectorUnreachableError,
    CollectorUntrustedError,
    EnrolError,
    FingerprintMismatchError,
    WrongNameError,
)
from agent.keys.store import FileKeyStore
from collector.ca import CertificateAuthority
from protocol import ed25519
from protocol.enrolment import EnrolmentResponse, certificate_name
from protocol.enrolment_code import EnrolmentCode
from protocol.errors import ProofError
from tests.support.enrolment_server import COLLECTOR_KEY, EnrolmentServer, enrolment_server, serving
from tests.support.memory_keys import MemoryKeyStore
from tests.support.mosquitto import free_port


def verify_enrolled(_code: EnrolmentCode, response: EnrolmentResponse, public_key: bytes) -> None:
    if response.enrolled != {"proof": ed25519.key_id(public_key)}:
        raise ProofError("not this key")


async def names_seen(url: str, context: ssl.SSLContext) -> object:
    """The names in the client certificate, as a server sees them."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
        session.get(f"{url}/whoami") as response,
    ):
        answer = await response.json()
        return answer["names"]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EnrolmentServer]:
    async with enrolment_server(tmp_path / "collector") as running:
        yield running


async def test_an_enrolled_station_is_known_by_its_certificate(
    server: EnrolmentServer, tmp_path: Path
) -> None:
    store = FileKeyStore(tmp_path / "keys")
    enrolment = await enrol(server.give_code().to_text(), store, verify_enrolled)
    assert (enrolment.station, enrolment.agencies) == ("dock-1", ("jing-an", "pu-tuo"))
    assert enrolment.collector_public_key == COLLECTOR_KEY
    assert FileKeyStore(tmp_path / "keys").load_enrolment() == enrolment
    assert await names_seen(server.url, FileKeyStore(tmp_path / "keys").client_context()) == [
        certificate_name(store.ensure_keys().key_id)
    ]


async def test_a_lost_answer_is_asked_for_again_with_the_same_keys(server: EnrolmentServer) -> None:
    store, code = MemoryKeyStore(), server.give_code().to_text()
    server.lose_answers = 1
    with pytest.raises(CollectorUnreachableError) as lost:
        await enrol(code, store, verify_enrolled)
    assert lost.value.retryable
    assert store.load_enrolment() is None
    enrolment = await enrol(code, store, verify_enrolled)
    assert enrolment.station == "dock-1"
    assert server.keys_seen == [store.ensure_keys().key_id] * 2


async def test_enrolling_an_enrolled_station_again_changes_no_key(server: EnrolmentServer) -> None:
    store, code = MemoryKeyStore(), server.give_code().to_text()
    await enrol(code, store, verify_enrolled)
    await enrol(code, store, verify_enrolled)
    assert len(set(server.keys_seen)) == 1


async def test_a_used_code_admits_no_second_machine(server: EnrolmentServer) -> None:
    code = server.give_code().to_text()
    await enrol(code, MemoryKeyStore(), verify_enrolled)
    with pytest.raises(CodeUsedError):
        await enrol(code, MemoryKeyStore(), verify_enrolled)


async def test_an_expired_code_is_refused_by_name(server: EnrolmentServer) -> None:
    code = server.give_code(lifetime=timedelta(seconds=-1))
    with pytest.raises(CodeExpiredError):
        await enrol(code.to_text(), MemoryKeyStore(), verify_enrolled)


async def test_a_code_nobody_gave_out_is_refused_by_name(server: EnrolmentServer) -> None:
    code = replace(server.give_code(), secret=bytes(32))
    with pytest.raises(CodeUnknownError) as refused:
        await enrol(code.to_text(), MemoryKeyStore(), verify_enrolled)
    assert refused.value.code == "enrolment-code-unknown"


async def test_a_machine_with_another_ca_gets_no_request(server: EnrolmentServer) -> None:
    code = server.give_code()
    server.served_ca = CertificateAuthority.create(datetime.now(UTC)).certificate_pem
    with pytest.raises(FingerprintMismatchError):
        await enrol(code.to_text(), MemoryKeyStore(), verify_enrolled)
    assert server.keys_seen == []


async def test_a_machine_that_only_repeats_the_right_ca_gets_no_request(
    server: EnrolmentServer, tmp_path: Path
) -> None:
    async with enrolment_server(tmp_path / "impostor") as impostor:
        impostor.served_ca = server.authority.certificate_pem
        code = replace(server.give_code(), url=impostor.url)
        with pytest.raises(CollectorUntrustedError):
            await enrol(code.to_text(), MemoryKeyStore(), verify_enrolled)
        assert impostor.keys_seen == []


async def test_a_wrong_clock_is_named(tmp_path: Path) -> None:
    ahead = datetime.now(UTC) + timedelta(days=30)
    async with enrolment_server(tmp_path, now=ahead) as server:
        with pytest.raises(ClockWrongError):
            await enrol(server.give_code().to_text(), MemoryKeyStore(), verify_enrolled)


async def test_a_certificate_for_another_name_is_named(tmp_path: Path) -> None:
    async with enrolment_server(tmp_path, names=["collector.example"]) as server:
        with pytest.raises(WrongNameError):
            await enrol(server.give_code().to_text(), MemoryKeyStore(), verify_enrolled)


async def test_nobody_at_the_address_is_retryable(server: EnrolmentServer) -> None:
    code = replace(server.give_code(), url=f"https://127.0.0.1:{free_port()}")
    with pytest.raises(CollectorUnreachableError) as failure:
        await enrol(code.to_text(), MemoryKeyStore(), verify_enrolled)
    assert failure.value.retryable


async def test_a_mistyped_code_reaches_nobody(server: EnrolmentServer) -> None:
    text = server.give_code().to_text()
    changed = text[:40] + ("A" if text[40] != "A" else "B") + text[41:]
    with pytest.raises(CodeInvalidError, match="check characters"):
        await enrol(changed, MemoryKeyStore(), verify_enrolled)


async def test_an_answer_without_proof_is_not_kept(server: EnrolmentServer) -> None:
    def no_proof(*_: object) -> None:
        raise ProofError("not in the log")

    store = MemoryKeyStore()
    with pytest.raises(AnswerInvalidError, match="not in the log"):
        await enrol(server.give_code().to_text(), store, no_proof)
    assert store.load_enrolment() is None


async def test_a_certificate_for_another_station_is_not_kept(server: EnrolmentServer) -> None:
    server.certify_as = ed25519.key_id(COLLECTOR_KEY)
    store = MemoryKeyStore()
    with pytest.raises(AnswerInvalidError, match="names another key"):
        await enrol(server.give_code().to_text(), store, verify_enrolled)
    assert store.load_enrolment() is None


async def test_a_station_does_not_silently_become_another(server: EnrolmentServer) -> None:
    store = MemoryKeyStore()
    await enrol(server.give_code("dock-1").to_text(), store, verify_enrolled)
    with pytest.raises(AlreadyEnrolledError):
        await enrol(server.give_code("dock-2").to_text(), store, verify_enrolled)


async def test_an_enrolled_station_with_a_dead_clock_still_connects(tmp_path: Path) -> None:
    store = MemoryKeyStore()
    async with enrolment_server(tmp_path / "one") as server:
        await enrol(server.give_code().to_text(), store, verify_enrolled)
        # to the station it is the same whether its own clock is behind or the certificate ahead
        ahead = server.authority.issue_server(["127.0.0.1"], datetime.now(UTC) + timedelta(days=3650))
        server.trust.server_certificate.write_bytes(ahead.certificate_pem)
        server.trust.server_key.write_bytes(ahead.key_pem)
        async with serving(server) as url:
            assert await names_seen(url, store.client_context()) == [
                certificate_name(store.ensure_keys().key_id)
            ]


def test_every_failure_advises_in_chinese_and_english() -> None:
    def family(root: type[EnrolError]) -> list[type[EnrolError]]:
        return [root, *(member for child in root.__subclasses__() for member in family(child))]

    for error in family(EnrolError):
        chinese, _, english = error.advice.partition("。")
        assert chinese
        assert english.isascii()
        assert english.endswith(".")
