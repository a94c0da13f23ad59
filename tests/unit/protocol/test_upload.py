"""The upload dialogue: what the server accepts, what the client does next, and that the two always meet."""

from __future__ import annotations

import base64
import contextlib
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.digest import Digest
from protocol.errors import AgencyNotAllowedError, ProtocolError, UploadError
from protocol.limits import MAX_BUNDLE_BYTES
from protocol.upload import (
    CHECKSUM_BYTES,
    MAX_METADATA_CHARS,
    MAX_UPLOAD_BYTES,
    Checksum,
    Part,
    Purpose,
    check_checksum,
    check_declared,
    check_version,
    decide_creation,
    decide_deletion,
    decide_part,
    format_metadata,
    format_repr_digest,
    parse_metadata,
    parse_number,
    parse_repr_digest,
)
from protocol.upload_client import NextStep, Step, decide_after, next_offset
from protocol.upload_errors import (
    ChecksumMismatchError,
    ContentTypeError,
    OffsetConflictError,
    TooLargeError,
    TusVersionError,
    UploadDigestError,
    UploadHeaderError,
    UploadStoredError,
)

PART = {"Content-Type": "application/offset+octet-stream"}
DIGEST = Digest.of(b"clip")
KEYS = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=","), min_size=1, max_size=20
)


@given(st.dictionaries(KEYS, st.binary(max_size=60), max_size=8))
def test_metadata_comes_back(pairs: dict[str, bytes]) -> None:
    assert parse_metadata(format_metadata(pairs)) == pairs


@given(st.text(max_size=200))
def test_any_text_is_metadata_or_an_upload_error(text: str) -> None:
    with contextlib.suppress(UploadHeaderError):
        parse_metadata(text)


def test_metadata_has_the_forms_of_the_standard() -> None:
    assert parse_metadata("filename d29ybGQ=,is_confidential, other ") == {
        "filename": b"world",
        "is_confidential": b"",
        "other": b"",
    }
    assert parse_metadata(None) == parse_metadata("") == {}


@pytest.mark.parametrize(
    "text", [",", "a,a", "a b c", "a !", "ä YQ==", "a YQ", "a \r\nX-Evil: 1", "x" * 5000]
)
def test_metadata_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UploadHeaderError):
        parse_metadata(text)


@pytest.mark.parametrize("key", ["", "a b", "a,b", "ä", "a\n"])
def test_keys_the_header_cannot_carry_are_not_written(key: str) -> None:
    with pytest.raises(UploadHeaderError):
        format_metadata({key: b""})


def test_metadata_has_a_limit() -> None:
    with pytest.raises(UploadHeaderError, match=str(MAX_METADATA_CHARS)):
        parse_metadata("k " + "A" * MAX_METADATA_CHARS)


@given(st.binary(max_size=100), st.sampled_from(sorted(CHECKSUM_BYTES)))
def test_checksums_come_back(data: bytes, algorithm: str) -> None:
    checksum = Checksum(algorithm=algorithm, value=hashlib.new(algorithm, data).digest())
    assert Checksum.parse(str(checksum)) == checksum
    check_checksum(checksum, hashlib.new(algorithm, data).digest())
    with pytest.raises(ChecksumMismatchError):
        check_checksum(checksum, bytes(len(checksum.value)))


def test_the_checksum_of_the_standards_example_is_read() -> None:
    checksum = Checksum.parse("sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=")
    check_checksum(checksum, hashlib.sha1(b"hello world").digest())


BUNDLE = {"Upload-Metadata": "purpose " + base64.b64encode(b"bundle").decode()}


def test_a_bundle_announces_a_length_within_its_limit() -> None:
    largest = {**BUNDLE, "Upload-Length": str(MAX_BUNDLE_BYTES)}
    assert decide_creation(largest, agencies={"hz"}).purpose is Purpose.BUNDLE
    with pytest.raises(TooLargeError):
        decide_creation({**BUNDLE, "Upload-Length": str(MAX_BUNDLE_BYTES + 1)}, agencies={"hz"})
    with pytest.raises(UploadHeaderError, match="Upload-Length"):
        decide_creation({**BUNDLE, "Upload-Defer-Length": "1"}, agencies={"hz"})
    named = BUNDLE["Upload-Metadata"] + ",digest " + base64.b64encode(str(DIGEST).encode()).decode()
    with pytest.raises(UploadHeaderError, match="digest"):
        decide_creation({"Upload-Length": "1", "Upload-Metadata": named}, agencies={"hz"})


@given(st.binary(max_size=50))
def test_representation_digests_come_back(data: bytes) -> None:
    assert parse_repr_digest(format_repr_digest(Digest.of(data))) == Digest.of(data)


def test_our_digest_is_found_among_others_and_nonsense_is_none() -> None:
    sha512 = base64.b64encode(bytes(64)).decode()
    assert parse_repr_digest(f"sha-512=:{sha512}:, {format_repr_digest(DIGEST)}") == DIGEST
    for text in ("", "sha-256=abc", "sha-256=:AAAA:", f"x{format_repr_digest(DIGEST)}", "sha-256=::"):
        assert parse_repr_digest(text) is None


@given(st.text(max_size=30))
def test_any_text_is_a_number_or_an_upload_error(text: str) -> None:
    try:
        number = parse_number({"Upload-Length": text}, "Upload-Length")
    except UploadHeaderError:
        return
    assert str(number) == text


@pytest.mark.parametrize("version", [None, "", "0.2.2", "1.0", "1.0.0 "])
def test_only_the_version_we_speak_is_processed(version: str | None) -> None:
    check_version({"Tus-Resumable": "1.0.0"})
    with pytest.raises(TusVersionError):
        check_version({} if version is None else {"Tus-Resumable": version})


def test_a_foreign_client_may_leave_everything_but_the_length_out() -> None:
    creation = decide_creation({"Upload-Length": "7"}, agencies={"hz"})
    assert (creation.agency, creation.purpose, creation.size_bytes) == ("hz", Purpose.ORIGINAL, 7)
    assert creation.declared is None
    assert creation.metadata is None


def test_our_client_says_what_the_bytes_are() -> None:
    text = format_metadata(
        {"agency": b"nb", "purpose": b"listing", "digest": str(DIGEST).encode(), "filename": b"x"}
    )
    creation = decide_creation({"Upload-Defer-Length": "1", "Upload-Metadata": text}, agencies={"hz", "nb"})
    assert (creation.agency, creation.purpose, creation.declared) == ("nb", Purpose.LISTING, DIGEST)
    assert creation.size_bytes is None
    assert creation.metadata == text


def test_a_sender_for_nobody_creates_nothing() -> None:
    with pytest.raises(UploadHeaderError):
        decide_creation({"Upload-Length": "7"}, agencies=set())
    named = {"Upload-Length": "7", "Upload-Metadata": format_metadata({"agency": b"hz"})}
    with pytest.raises(AgencyNotAllowedError):
        decide_creation(named, agencies={"nb"})


@given(
    st.dictionaries(
        st.sampled_from(["Upload-Length", "Upload-Defer-Length", "Upload-Metadata", "Upload-Concat"]),
        st.one_of(st.text(max_size=40), KEYS.map(lambda key: f"{key} YQ=="), st.just("1")),
    )
)
def test_any_creation_is_accepted_or_refused_with_an_error_of_the_tree(headers: dict[str, str]) -> None:
    try:
        creation = decide_creation(headers, agencies={"hz"})
    except ProtocolError:
        return
    assert creation.agency == "hz"
    assert creation.size_bytes is None or 0 <= creation.size_bytes <= MAX_UPLOAD_BYTES


def test_a_part_starts_where_the_durable_bytes_end() -> None:
    assert decide_part(PART | {"Upload-Offset": "5"}, offset_bytes=5, size_bytes=9) == Part(
        offset_bytes=5, room_bytes=4, size_bytes=9, checksum=None
    )
    for wrong in ("4", "6"):
        with pytest.raises(OffsetConflictError):
            decide_part(PART | {"Upload-Offset": wrong}, offset_bytes=5, size_bytes=9)
    with pytest.raises(UploadHeaderError):
        decide_part(PART, offset_bytes=5, size_bytes=9)


def test_a_part_that_does_not_fit_is_refused_before_a_byte_is_read() -> None:
    headers = PART | {"Upload-Offset": "5", "Content-Length": "5"}
    with pytest.raises(TooLargeError):
        decide_part(headers, offset_bytes=5, size_bytes=9)
    assert decide_part(headers, offset_bytes=5, size_bytes=10).room_bytes == 5


def test_parts_of_a_deferred_upload_may_go_up_to_the_limit() -> None:
    part = decide_part(PART | {"Upload-Offset": "5"}, offset_bytes=5, size_bytes=None)
    assert part.room_bytes == MAX_UPLOAD_BYTES - 5


def test_a_length_told_late_is_taken_once_and_never_below_what_is_there() -> None:
    told = PART | {"Upload-Offset": "5", "Upload-Length": "8"}
    assert decide_part(told, offset_bytes=5, size_bytes=None).size_bytes == 8
    assert decide_part(told, offset_bytes=5, size_bytes=8).size_bytes == 8
    with pytest.raises(UploadHeaderError):
        decide_part(told, offset_bytes=5, size_bytes=9)
    with pytest.raises(UploadHeaderError):
        decide_part(told | {"Upload-Length": "4"}, offset_bytes=5, size_bytes=None)
    with pytest.raises(TooLargeError):
        decide_part(told | {"Upload-Length": str(MAX_UPLOAD_BYTES + 1)}, offset_bytes=5, size_bytes=None)


@pytest.mark.parametrize("kind", ["", "text/plain", "application/octet-stream"])
def test_a_part_of_another_type_is_refused(kind: str) -> None:
    with pytest.raises(ContentTypeError):
        decide_part({"Content-Type": kind, "Upload-Offset": "0"}, offset_bytes=0, size_bytes=1)


def test_a_part_in_a_content_coding_is_refused() -> None:
    with pytest.raises(ContentTypeError):
        decide_part(PART | {"Upload-Offset": "0", "Content-Encoding": "br"}, offset_bytes=0, size_bytes=1)


def test_a_complete_upload_is_what_was_declared_or_an_error_with_both_digests() -> None:
    check_declared(None, DIGEST)
    check_declared(DIGEST, DIGEST)
    with pytest.raises(UploadDigestError) as caught:
        check_declared(DIGEST, Digest.of(b"other"))
    assert (caught.value.expected, caught.value.actual) == (str(DIGEST), str(Digest.of(b"other")))


def test_what_is_stored_is_not_deleted() -> None:
    decide_deletion(stored=False)
    with pytest.raises(UploadStoredError):
        decide_deletion(stored=True)


@pytest.mark.parametrize(
    ("status", "headers", "code", "expected"),
    [
        (None, {}, None, NextStep(step=Step.ASK)),
        (201, {"Location": "/u"}, None, NextStep(step=Step.SEND, offset_bytes=0)),
        (201, {"Location": "/u", "Upload-Offset": "4"}, None, NextStep(step=Step.SEND, offset_bytes=4)),
        (200, {"Upload-Offset": "4"}, None, NextStep(step=Step.SEND, offset_bytes=4)),
        (204, {"Upload-Offset": "10"}, None, NextStep(step=Step.DONE)),
        (204, {"Upload-Offset": "11"}, None, NextStep(step=Step.RESTART)),
        (204, {"Upload-Offset": "x"}, None, NextStep(step=Step.RESTART)),
        (200, {}, None, NextStep(step=Step.ASK)),
        (
            204,
            {"Upload-Offset": "10", "Repr-Digest": format_repr_digest(DIGEST)},
            None,
            NextStep(step=Step.DONE),
        ),
        (
            204,
            {"Upload-Offset": "10", "Repr-Digest": format_repr_digest(Digest.of(b"other"))},
            None,
            NextStep(step=Step.RESTART),
        ),
        (403, {}, "upload-stored", NextStep(step=Step.DONE)),
        (403, {}, "agency-not-allowed", NextStep(step=Step.STOP)),
        (404, {}, "upload-not-found", NextStep(step=Step.RESTART)),
        (410, {}, "upload-gone", NextStep(step=Step.RESTART)),
        (408, {}, "upload-part-cut", NextStep(step=Step.ASK)),
        (409, {}, "upload-offset-conflict", NextStep(step=Step.ASK)),
        (460, {}, "upload-checksum-mismatch", NextStep(step=Step.ASK)),
        (460, {}, "upload-digest-mismatch", NextStep(step=Step.RESTART)),
        (429, {}, "upload-too-many", NextStep(step=Step.WAIT)),
        (507, {}, "storage-full", NextStep(step=Step.WAIT)),
        (502, {}, None, NextStep(step=Step.WAIT)),
        (400, {}, "upload-header-invalid", NextStep(step=Step.STOP)),
        (412, {}, "tus-version-unsupported", NextStep(step=Step.STOP)),
        (413, {}, "upload-too-large", NextStep(step=Step.STOP)),
        (301, {}, None, NextStep(step=Step.STOP)),
    ],
)
def test_every_answer_has_one_next_step(
    status: int | None, headers: dict[str, str], code: str | None, expected: NextStep
) -> None:
    assert decide_after(status, headers, size_bytes=10, digest=DIGEST, code=code) == expected


@given(
    st.integers(100, 599),
    st.dictionaries(st.sampled_from(["Upload-Offset", "Repr-Digest", "Location"]), st.text()),
)
def test_no_answer_surprises_the_client(status: int, headers: dict[str, str]) -> None:
    after = decide_after(status, headers, size_bytes=10)
    assert 0 <= after.offset_bytes < 10


def test_an_empty_file_is_done_when_created() -> None:
    assert decide_after(201, {"Location": "/u"}, size_bytes=0).step is Step.DONE


def test_an_offset_beyond_the_file_is_not_of_this_file() -> None:
    assert next_offset({"Upload-Offset": "10"}, size_bytes=10) == 10
    assert next_offset({}, size_bytes=10) is None
    with pytest.raises(UploadHeaderError):
        next_offset({"Upload-Offset": "11"}, size_bytes=10)


class Server:
    """The server's side made of the decisions alone."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.bytes = b""

    def head(self) -> tuple[int, dict[str, str]]:
        return 200, {"Upload-Offset": str(len(self.bytes))}

    def patch(self, offset: int, body: bytes, arrives: int) -> tuple[int, dict[str, str]]:
        headers = PART | {"Upload-Offset": str(offset), "Content-Length": str(len(body))}
        try:
            decide_part(headers, offset_bytes=len(self.bytes), size_bytes=self.size_bytes)
        except UploadError as error:
            return error.status, {}
        self.bytes += body[:arrives]
        return 204, {"Upload-Offset": str(len(self.bytes))}


@given(
    st.binary(min_size=1, max_size=60),
    st.lists(st.tuples(st.integers(0, 60), st.booleans(), st.integers(1, 60)), max_size=12),
)
def test_whatever_is_cut_or_lost_the_bytes_end_up_right(
    data: bytes, troubles: list[tuple[int, bool, int]]
) -> None:
    server, troubles = Server(len(data)), [*troubles, (60, False, 60)]
    after = NextStep(step=Step.SEND)
    while after.step is not Step.DONE:
        status: int | None
        if after.step is Step.ASK:
            status, headers = server.head()
        else:
            arrives, answer_lost, part = troubles.pop(0) if troubles else (60, False, 60)
            body = data[after.offset_bytes : after.offset_bytes + part]
            status, headers = server.patch(after.offset_bytes, body, arrives)
            if answer_lost or arrives < len(body):
                status, headers = None, {}
        after = decide_after(status, headers, size_bytes=len(data))
    assert server.bytes == data
