"""Do programs we did not write verify our signatures, as they stand in our files, and refuse what was changed?

They get key, signed bytes and signature, each taken out of the file here by the words of its public specification
and not by the code that wrote it.
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from securesystemslib import dsse
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]

from protocol import ed25519
from protocol.admission import Admission, AdmissionResult, sign_admission
from protocol.digest import Digest
from protocol.dsse import Envelope
from protocol.statements import Statement, sign_statement
from tests.support.evidence import NOW, STATION, STATION_SEED, Story
from tests.support.foreign import needs_program
from tests.support.specimens import SPECIMENS

pytestmark = pytest.mark.judge

PUBLIC = ed25519.public_from_seed(STATION_SEED)
OTHER_PUBLIC = ed25519.public_from_seed(b"x" * 32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """What any Ed25519 verifier needs."""

    public_key: bytes
    message: bytes
    signature: bytes


def an_envelope() -> Signed:
    """DSSE: the signature is over ``DSSEv1 SP LEN(type) SP type SP LEN(body) SP body``."""
    value = json.loads(sign_statement(SPECIMENS["manifest"], STATION_SEED).to_bytes())
    payload, kind = base64.b64decode(value["payload"]), value["payloadType"].encode()
    message = b" ".join([b"DSSEv1", str(len(kind)).encode(), kind, str(len(payload)).encode(), payload])
    return Signed(
        public_key=PUBLIC, message=message, signature=base64.b64decode(value["signatures"][0]["sig"])
    )


def a_checkpoint() -> Signed:
    """Signed note: a text, an empty line, ``— name base64(four bytes of key id, signature)``; vkey: type, key."""
    log = Story().log
    text, _, line = log.note.partition(b"\n\n")
    vkey = str(log.log_key.verifier).split("+", 2)[2]
    return Signed(
        public_key=base64.b64decode(vkey)[1:],
        message=text + b"\n",
        signature=base64.b64decode(line.split()[-1])[4:],
    )


Judge = Callable[[Signed, Path], bool]


def openssl(signed: Signed, folder: Path) -> bool:
    """OpenSSL, given the key as SubjectPublicKeyInfo (RFC 8410)."""
    program = needs_program("openssl", "openssl")
    spki = bytes.fromhex("302a300506032b6570032100") + signed.public_key
    pem = f"-----BEGIN PUBLIC KEY-----\n{base64.b64encode(spki).decode()}\n-----END PUBLIC KEY-----\n"
    (folder / "key.pem").write_text(pem)
    (folder / "signature").write_bytes(signed.signature)
    (folder / "message").write_bytes(signed.message)
    command = [program, "pkeyutl", "-verify", "-pubin", "-inkey", "key.pem", "-rawin"]
    return accepts([*command, "-in", "message", "-sigfile", "signature"], folder)


def signify(signed: Signed, folder: Path) -> bool:
    """OpenBSD's signify: its "Ed" files are an algorithm, a key number and the raw key or signature."""
    program = needs_program("signify-openbsd", "signify-openbsd")
    number = b"\0\1\2\3\4\5\6\7"
    for name, raw in {"key.pub": signed.public_key, "message.sig": signed.signature}.items():
        encoded = base64.b64encode(b"Ed" + number + raw).decode()
        (folder / name).write_text(f"untrusted comment: {name}\n{encoded}\n")
    (folder / "message").write_bytes(signed.message)
    return accepts([program, "-V", "-p", "key.pub", "-x", "message.sig", "-m", "message"], folder)


def accepts(command: list[str], folder: Path) -> bool:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, 1), f"the judge itself failed: {done.stdout}{done.stderr}"
    return done.returncode == 0


def flipped(data: bytes, position: int) -> bytes:
    bent = bytearray(data)
    bent[position] ^= 1
    return bytes(bent)


judged = pytest.mark.parametrize("judge", [openssl, signify])
of_ours = pytest.mark.parametrize("make", [an_envelope, a_checkpoint])


@judged
@of_ours
def test_a_signature_of_ours_is_verified(judge: Judge, make: Callable[[], Signed], tmp_path: Path) -> None:
    assert judge(make(), tmp_path)


@judged
@of_ours
def test_one_changed_bit_or_another_key_is_refused(
    judge: Judge, make: Callable[[], Signed], tmp_path: Path
) -> None:
    good = make()
    for bent in (
        replace(good, message=flipped(good.message, 0)),
        replace(good, message=flipped(good.message, -2)),
        replace(good, signature=flipped(good.signature, 0)),
        replace(good, signature=flipped(good.signature, 33)),
        replace(good, public_key=OTHER_PUBLIC),
    ):
        assert not judge(bent, tmp_path)


# securesystemslib, the reference implementation of DSSE in Python, reads whole envelopes.


def reference_key(public_key: bytes = PUBLIC) -> SSlibKey:
    return SSlibKey(ed25519.key_id(public_key), "ed25519", "ed25519", {"public": public_key.hex()})


def reference_accepts(data: bytes, key: SSlibKey) -> bool:
    try:
        dsse.Envelope.from_dict(json.loads(data)).verify([key], 1)
    except VerificationError:
        return False
    return True


@pytest.mark.parametrize("statement", SPECIMENS.values(), ids=SPECIMENS)
def test_securesystemslib_verifies_an_envelope_of_every_kind(statement: Statement) -> None:
    envelope = sign_statement(statement, STATION_SEED)
    reference = dsse.Envelope.from_dict(json.loads(envelope.to_bytes()))
    assert (reference.payload, reference.payload_type) == (envelope.payload, "application/vnd.in-toto+json")
    assert reference_accepts(envelope.to_bytes(), reference_key())


def test_securesystemslib_verifies_an_admission() -> None:
    admission = Admission(
        station=STATION,
        issued_at=NOW,
        results=(AdmissionResult.admitted(Digest.of(b"statement"), 7),),
        checkpoint=None,
    )
    assert reference_accepts(sign_admission(admission, STATION_SEED).to_bytes(), reference_key())


@pytest.mark.parametrize(
    "change",
    [
        lambda envelope: replace(envelope, payload=flipped(envelope.payload, 10)),
        lambda envelope: replace(envelope, signature=flipped(envelope.signature, 10)),
        lambda envelope: replace(envelope, payload_type="application/vnd.zhilu.admission+json"),
    ],
    ids=["payload", "signature", "type"],
)
def test_securesystemslib_refuses_a_changed_envelope(change: Callable[[Envelope], Envelope]) -> None:
    envelope = change(sign_statement(SPECIMENS["manifest"], STATION_SEED))
    assert not reference_accepts(envelope.to_bytes(), reference_key())


def test_securesystemslib_refuses_another_key() -> None:
    envelope = sign_statement(SPECIMENS["manifest"], STATION_SEED)
    other: Any = SSlibKey(envelope.key_id, "ed25519", "ed25519", {"public": OTHER_PUBLIC.hex()})
    assert not reference_accepts(envelope.to_bytes(), other)


def test_an_envelope_that_securesystemslib_wrote_is_read_and_verified_here() -> None:
    ours = sign_statement(SPECIMENS["manifest"], STATION_SEED)
    theirs = dsse.Envelope.from_dict(json.loads(ours.to_bytes())).to_dict()
    read = Envelope.from_bytes(json.dumps(theirs).encode())
    read.verify(PUBLIC, "application/vnd.in-toto+json")
    assert read == ours
