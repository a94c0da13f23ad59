"""C2SP signed notes (c2sp.org/signed-note@v1.0.0): a text and Ed25519 signatures under named keys.

Stricter than the specification where it leaves a choice: Base 64 and key ids have one spelling, and a key
that honest verifiers could disagree on is not accepted. Other signature types count as unknown keys.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from protocol import ed25519
from protocol.errors import LimitError, MalformedError, SignatureError, UnknownKindError
from protocol.limits import MAX_NOTE_BYTES, MAX_NOTE_SIGNATURES, MAX_TEXT_CHARS
from protocol.lines import check_line, decode_base64, encode_base64

_ED25519_TYPE: Final = 0x01
_KEY_ID_BYTES: Final = 4
_SIGNATURE_PREFIX: Final = "— "
_BLANK_LINE: Final = "\n\n"
_FORBIDDEN_IN_TEXT: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifierKey:
    """A public key under a name: what a verifier is given out of band, as one ``vkey`` line (验证公钥)."""

    name: str
    public_key: bytes

    def __post_init__(self) -> None:
        _check_name(self.name)
        ed25519.check_public_key(self.public_key)

    @classmethod
    def parse(cls, text: str) -> Self:
        """``name+keyid+base64``. Raises MalformedError, LimitError, UnknownKindError KeyRejectedError."""
        name, key_id, encoded = _split_vkey(text)
        key = decode_base64(encoded, "the key of a vkey")
        _check_name(name)
        if key_id != _key_id(name, key).hex():
            raise MalformedError("the id in the vkey is not that of its name and key")
        if key[:1] != bytes([_ED25519_TYPE]):
            raise UnknownKindError(f"the vkey of {name} is not an Ed25519 note key (type 0x01)")
        return cls(name=name, public_key=key[1:])

    @property
    def key_id(self) -> bytes:
        """The four bytes that, beside the name, tell keys apart in signature lines. Not a fingerprint."""
        return _key_id(self.name, self._typed_key)

    @property
    def _typed_key(self) -> bytes:
        return bytes([_ED25519_TYPE]) + self.public_key

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{encode_base64(self._typed_key)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerKey:
    """The secret half of a VerifierKey, from its 32-byte seed."""

    name: str
    seed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _check_name(self.name)
        ed25519.public_from_seed(self.seed)

    @property
    def verifier(self) -> VerifierKey:
        return VerifierKey(name=self.name, public_key=ed25519.public_from_seed(self.seed))


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteSignature:
    """One signature line: who is said to have signed, and the signature bytes."""

    name: str
    key_id: bytes
    signature: bytes

    def to_line(self) -> str:
        return f"{_SIGNATURE_PREFIX}{self.name} {encode_base64(self.key_id + self.signature)}\n"


def sign_note(text: str, signers: Sequence[SignerKey]) -> bytes:
    """The note over ``text``, which ends in a newline, with one signature per signer, in their order.

    Raises MalformedError if the text cannot be in a note or nobody signs, LimitError if it gets too large.
    """
    signed = _encode_text(text)
    if not signers:
        raise MalformedError("a note needs at least one signature")
    if len(signers) > MAX_NOTE_SIGNATURES:
        raise LimitError(f"a note has at most {MAX_NOTE_SIGNATURES} signatures")
    lines = "".join(_sign(signed, signer).to_line() for signer in signers)
    note = signed + b"\n" + lines.encode()
    if len(note) > MAX_NOTE_BYTES:
        raise LimitError(f"a note has at most {MAX_NOTE_BYTES} bytes")
    return note


def open_note(data: bytes, verifiers: Iterable[VerifierKey]) -> tuple[str, tuple[NoteSignature, ...]]:
    """The text and the verified signatures, one for each known key that signed.

    Signatures of unknown keys are ignored. Raises MalformedError or LimitError for bytes that are no note,
    SignatureError if a known key's signature is bad or no known key has signed.
    """
    text, signatures = parse_note(data)
    known = _by_identity(verifiers)
    signed = text.encode()
    verified: dict[tuple[str, bytes], NoteSignature] = {}
    for signature in signatures:
        identity = (signature.name, signature.key_id)
        if identity in known:
            ed25519.verify(known[identity].public_key, signed, signature.signature)
            verified[identity] = signature
    if not verified:
        raise SignatureError("no known key has signed this note")
    return text, tuple(verified.values())


def parse_note(data: bytes) -> tuple[str, tuple[NoteSignature, ...]]:
    """Text and all signature lines, none of them verified: nothing in it may be relied on.

    Raises MalformedError or LimitError.
    """
    if len(data) > MAX_NOTE_BYTES:
        raise LimitError(f"a note has at most {MAX_NOTE_BYTES} bytes")
    try:
        note = data.decode()
    except UnicodeDecodeError as error:
        raise MalformedError("a note is UTF-8") from error
    if _FORBIDDEN_IN_TEXT.search(note):
        raise MalformedError("a note has no control characters but newlines")
    body, blank_line, signature_lines = note.rpartition(_BLANK_LINE)
    if not blank_line or not signature_lines.endswith("\n"):
        raise MalformedError("a note is a text, a blank line and signature lines, each ended by a newline")
    lines = signature_lines[:-1].split("\n")
    if len(lines) > MAX_NOTE_SIGNATURES:
        raise LimitError(f"a note has at most {MAX_NOTE_SIGNATURES} signatures")
    return body + "\n", tuple(_parse_signature_line(line) for line in lines)


def _parse_signature_line(line: str) -> NoteSignature:
    name, space, encoded = line.removeprefix(_SIGNATURE_PREFIX).partition(" ")
    if not line.startswith(_SIGNATURE_PREFIX) or not space:
        raise MalformedError("a signature line is an em dash, a key name and the signature")
    _check_name(name)
    raw = decode_base64(encoded, "a note signature")
    if len(raw) <= _KEY_ID_BYTES:
        raise MalformedError("a note signature is a key id of four bytes and at least one byte more")
    return NoteSignature(name=name, key_id=raw[:_KEY_ID_BYTES], signature=raw[_KEY_ID_BYTES:])


def _sign(signed: bytes, signer: SignerKey) -> NoteSignature:
    signature = ed25519.sign(signer.seed, signed)
    return NoteSignature(name=signer.name, key_id=signer.verifier.key_id, signature=signature)


def _encode_text(text: str) -> bytes:
    if not text.endswith("\n") or _FORBIDDEN_IN_TEXT.search(text):
        raise MalformedError("the text of a note ends in a newline and has no other control characters")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise MalformedError("the text of a note is not valid Unicode") from error


def _by_identity(verifiers: Iterable[VerifierKey]) -> dict[tuple[str, bytes], VerifierKey]:
    known: dict[tuple[str, bytes], VerifierKey] = {}
    for verifier in verifiers:
        if known.setdefault((verifier.name, verifier.key_id), verifier) != verifier:
            raise SignatureError(f"two known keys share name and id: {verifier.name}+{verifier.key_id.hex()}")
    return known


def _split_vkey(text: str) -> tuple[str, str, str]:
    if len(text) > MAX_TEXT_CHARS:
        raise LimitError(f"a vkey has at most {MAX_TEXT_CHARS} characters")
    parts = text.split("+", 2)  # Base 64 has plus signs too; names have none
    if len(parts) != 3:
        raise MalformedError("a vkey is written name+keyid+base64")
    return parts[0], parts[1], parts[2]


def _key_id(name: str, typed_key: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + typed_key).digest()[:_KEY_ID_BYTES]


def _check_name(name: str) -> None:
    check_line(name, "a key name")
    if "+" in name or any(character.isspace() for character in name):
        raise MalformedError("a key name has neither spaces nor plus signs")
