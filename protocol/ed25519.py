"""Ed25519 (RFC 8032) over libsodium: raw 32-byte keys in, detached 64-byte signatures out.

Honest verifiers disagree about signatures under odd public keys, so a key must pass ``check_public_key``
where it enters the system. ``verify`` then gives every verifier the same answer without repeating that check.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Final

from nacl.bindings import crypto_core_ed25519_is_valid_point
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from protocol.errors import KeyRejectedError, SignatureError

PUBLIC_KEY_BYTES: Final = 32
SEED_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64

_OWN_KEYS: Final = 16
"""Expanded signing keys kept: a process signs with one or two, and making one costs as much as two signatures."""

_NAMES: Final = 4096
"""Key names, and keys found to be valid, kept: every statement names one, a collector knows some thousand."""


def check_public_key(raw: bytes) -> bytes:
    """Return the key unchanged if it is the canonical encoding of a point of the prime-order subgroup.

    Refused with KeyRejectedError: wrong length, y ≥ p, points off the curve, the eight points of low order in
    every spelling, and keys with a low-order part (cofactored and cofactorless verifiers differ on those).
    """
    if len(raw) != PUBLIC_KEY_BYTES:
        raise KeyRejectedError(f"an Ed25519 public key is {PUBLIC_KEY_BYTES} bytes, not {len(raw)}")
    if not _is_valid_point(bytes(raw)):
        raise KeyRejectedError("the public key is not a canonical point of the prime-order subgroup")
    return raw


@lru_cache(_NAMES)
def _is_valid_point(raw: bytes) -> bool:
    """Costs half a signature, and the same few keys come with every receipt."""
    return bool(crypto_core_ed25519_is_valid_point(raw))


@lru_cache(_NAMES)
def key_id(public: bytes) -> str:
    """The name of a key everywhere in the protocol: ``ed25519:`` and the SHA-256 of its 32 bytes in hex."""
    return f"ed25519:{hashlib.sha256(public).hexdigest()}"


def public_from_seed(seed: bytes) -> bytes:
    """The 32-byte public key of a 32-byte seed (RFC 8032 §5.1.5). Raises KeyRejectedError."""
    return bytes(_signing_key(seed).verify_key)


def sign(seed: bytes, message: bytes) -> bytes:
    """The 64-byte signature, deterministic (RFC 8032 §5.1.6). Raises KeyRejectedError for a bad seed."""
    return _signing_key(seed).sign(message).signature


def verify(public: bytes, message: bytes, signature: bytes) -> None:
    """Raises SignatureError unless the signature holds; ``public`` has passed ``check_public_key`` before."""
    if len(public) != PUBLIC_KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        raise SignatureError("an Ed25519 public key is 32 bytes and a signature 64")
    try:
        VerifyKey(public).verify(message, signature)
    except BadSignatureError as error:
        raise SignatureError(f"the signature does not verify under {key_id(public)}") from error


@lru_cache(_OWN_KEYS)
def _signing_key(seed: bytes) -> SigningKey:
    if len(seed) != SEED_BYTES:
        raise KeyRejectedError(f"an Ed25519 seed is {SEED_BYTES} bytes, not {len(seed)}")
    return SigningKey(seed)
