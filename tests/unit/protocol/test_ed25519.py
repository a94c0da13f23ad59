"""Are only keys accepted on which all honest verifiers agree, and only signatures that hold?"""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.ed25519 import check_public_key, key_id, public_from_seed, sign, verify
from protocol.errors import KeyRejectedError, ProtocolError, SignatureError

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
Point = tuple[int, int]

SEED = bytes(range(32))


def add(first: Point, second: Point) -> Point:
    """Affine addition on edwards25519 (RFC 8032 §5.1.4)."""
    (x1, y1), (x2, y2) = first, second
    t = D * x1 * x2 * y1 * y2 % P
    return (x1 * y2 + x2 * y1) * pow(1 + t, -1, P) % P, (y1 * y2 + x1 * x2) * pow(1 - t, -1, P) % P


def recover_x(y: int) -> int | None:
    """One x with the point on the curve, or None (RFC 8032 §5.1.3)."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    root = pow(square, (P + 3) // 8, P)
    for x in (root, root * pow(2, (P - 1) // 4, P) % P):
        if x * x % P == square:
            return x
    return None


def encode(y: int, sign_bit: int) -> bytes:
    return (y | sign_bit << 255).to_bytes(32, "little")


def decode(raw: bytes) -> Point:
    number = int.from_bytes(raw, "little")
    y, sign_bit = number % 2**255, number >> 255
    x = recover_x(y)
    assert x is not None
    return (x if x & 1 == sign_bit else P - x), y


def multiply(scalar: int, point: Point) -> Point:
    result = (0, 1)
    for bit in bin(scalar)[2:]:
        result = add(result, result)
        if bit == "1":
            result = add(result, point)
    return result


def torsion_points() -> set[Point]:
    """The eight points whose order divides 8: the multiples of a point of order 8."""
    order = 2**252 + 27742317777372353535851937790883648493
    for y in range(2, 100):
        x = recover_x(y)
        if x is not None:
            point = multiply(order, (x, y))
            multiples = {multiply(k, point) for k in range(8)}
            if len(multiples) == 8:
                return multiples
    raise AssertionError("no point of order 8 found")


TORSION = sorted(torsion_points())


def test_there_are_eight_low_order_points_and_they_are_what_the_literature_lists() -> None:
    assert {encode(y, 0).hex() for _, y in TORSION} == {
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    }


@pytest.mark.parametrize("sign_bit", [0, 1])
@pytest.mark.parametrize("point", TORSION)
def test_a_low_order_key_is_refused_in_every_spelling(point: Point, sign_bit: int) -> None:
    _, y = point
    for spelling in (y, y + P):
        if spelling < 2**255:
            with pytest.raises(KeyRejectedError):
                check_public_key(encode(spelling, sign_bit))


@pytest.mark.parametrize("sign_bit", [0, 1])
@pytest.mark.parametrize("y", range(P, 2**255))
def test_a_key_whose_y_is_not_reduced_is_refused(y: int, sign_bit: int) -> None:
    with pytest.raises(KeyRejectedError):
        check_public_key(encode(y, sign_bit))


@pytest.mark.parametrize("torsion", [point for point in TORSION if point != (0, 1)])
def test_an_honest_key_with_a_low_order_part_added_is_refused(torsion: Point) -> None:
    x, y = add(decode(public_from_seed(SEED)), torsion)
    with pytest.raises(KeyRejectedError):
        check_public_key(encode(y, x & 1))


def test_bytes_that_are_no_point_of_the_curve_are_refused() -> None:
    off_curve = next(y for y in range(2, 100) if recover_x(y) is None)
    with pytest.raises(KeyRejectedError):
        check_public_key(encode(off_curve, 0))


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(KeyRejectedError):
        check_public_key(b"\x01" * length)


@given(st.binary(min_size=32, max_size=32))
def test_every_key_made_from_a_seed_is_accepted_and_its_signatures_verify(seed: bytes) -> None:
    public = check_public_key(public_from_seed(seed))
    verify(public, b"message", sign(seed, b"message"))


@given(st.binary(max_size=200), st.integers(min_value=0))
def test_one_flipped_bit_in_message_or_signature_is_refused(message: bytes, position: int) -> None:
    signature = sign(SEED, message)
    both = bytearray(signature + message)
    both[position // 8 % len(both)] ^= 1 << position % 8
    with pytest.raises(SignatureError):
        verify(public_from_seed(SEED), bytes(both[64:]), bytes(both[:64]))


def test_a_signature_with_s_above_the_group_order_is_refused() -> None:
    order = 2**252 + 27742317777372353535851937790883648493
    signature = sign(SEED, b"m")
    other_s = int.from_bytes(signature[32:], "little") + order
    with pytest.raises(SignatureError):
        verify(public_from_seed(SEED), b"m", signature[:32] + other_s.to_bytes(32, "little"))


@given(st.binary(max_size=70), st.binary(max_size=70), st.binary(max_size=70))
def test_arbitrary_bytes_raise_nothing_but_protocol_errors(
    public: bytes, message: bytes, signature: bytes
) -> None:
    with pytest.raises(ProtocolError):
        verify(public, message, signature)


def test_a_seed_of_another_length_is_refused() -> None:
    with pytest.raises(KeyRejectedError):
        sign(b"short", b"m")
    with pytest.raises(KeyRejectedError):
        public_from_seed(b"\x00" * 33)


def test_the_key_id_is_the_sha256_of_the_raw_key() -> None:
    public = public_from_seed(SEED)
    assert key_id(public) == "ed25519:" + hashlib.sha256(public).hexdigest()
