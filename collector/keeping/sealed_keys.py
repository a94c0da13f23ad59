"""Private keys under a passphrase: Argon2id makes the key, XSalsa20-Poly1305 (NaCl's secretbox) seals.

The cost of guessing is libsodium's "moderate": 256 MiB and about a second for each guess. It is written beside the
sealed bytes, so that a later version may ask for more.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from nacl.exceptions import CryptoError
from nacl.pwhash import argon2id
from nacl.secret import SecretBox
from nacl.utils import random

from collector.keeping.errors import PassphraseError
from collector.private_files import read_private
from protocol.canonical import Fields, parse_json
from protocol.errors import ProtocolError
from protocol.lines import decode_base64, encode_base64

_FORMAT: Final = "zhilu-sealed-keys/1"
_MAX_SEALED_BYTES: Final = 65_536
_MAX_KEY_CHARS: Final = 16_384
_MAX_OPS: Final = 20
_MAX_MEMORY_BYTES: Final = 1 << 30
"""What a sealed file may make this machine spend: libsodium's "sensitive"."""

MIN_PASSPHRASE_CHARS: Final = 12
"""Below that even a slow hash does not help; six dice words have twice as many."""


def read_passphrase(path: Path) -> bytes:
    """The first line of a file nobody else may read. Raises PassphraseError, KeyFileError."""
    passphrase = read_private(path).split(b"\n")[0].rstrip(b"\r")
    if len(passphrase.decode("utf-8", "replace")) < MIN_PASSPHRASE_CHARS:
        raise PassphraseError(f"a passphrase has at least {MIN_PASSPHRASE_CHARS} characters")
    return passphrase


def seal(keys: Mapping[str, bytes], passphrase: bytes) -> bytes:
    """The keys, by name, so that only the passphrase opens them."""
    salt = random(argon2id.SALTBYTES)
    ops, memory = argon2id.OPSLIMIT_MODERATE, argon2id.MEMLIMIT_MODERATE
    box = SecretBox(argon2id.kdf(SecretBox.KEY_SIZE, passphrase, salt, opslimit=ops, memlimit=memory))
    plain = json.dumps({name: encode_base64(key) for name, key in keys.items()}).encode()
    sealed = {
        "format": _FORMAT,
        "kdf": "argon2id",
        "opslimit": ops,
        "memlimit_bytes": memory,
        "salt": encode_base64(salt),
        "secretbox": encode_base64(bytes(box.encrypt(plain))),
    }
    return json.dumps(sealed, indent=1).encode() + b"\n"


def unseal(sealed: bytes, passphrase: bytes, names: Collection[str]) -> Mapping[str, bytes]:
    """The keys of these names. Raises PassphraseError when the passphrase does not open them, or these bytes are
    not what ``seal`` made."""
    try:
        fields = Fields(parse_json(sealed, max_bytes=_MAX_SEALED_BYTES, what="sealed keys"), "sealed keys")
        if fields.text("format") != _FORMAT:
            raise PassphraseError("the sealed keys have a form that this version does not know")
        key = argon2id.kdf(
            SecretBox.KEY_SIZE,
            passphrase,
            fields.binary("salt", max_bytes=argon2id.SALTBYTES),
            opslimit=fields.integer("opslimit", minimum=1, maximum=_MAX_OPS),
            memlimit=fields.integer("memlimit_bytes", minimum=1 << 13, maximum=_MAX_MEMORY_BYTES),
        )
        box = decode_base64(fields.text("secretbox", max_chars=_MAX_SEALED_BYTES), "secretbox")
        keys = Fields(
            parse_json(SecretBox(key).decrypt(box), max_bytes=_MAX_SEALED_BYTES, what="keys"), "keys"
        )
        return {name: decode_base64(keys.text(name, max_chars=_MAX_KEY_CHARS), name) for name in names}
    except (CryptoError, ProtocolError, ValueError) as error:
        raise PassphraseError("the passphrase does not open the keys of this backup") from error
