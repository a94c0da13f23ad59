"""Does the mount helper's protocol carry what it should, and refuse everything else?"""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import AgentError
from agent.mounting.wire import (
    CROSSING,
    MAX_LINE_BYTES,
    MAX_LUN,
    MAX_PARTITION,
    Act,
    Request,
    Volume,
    encode_answer,
    encode_error,
    encode_request,
    parse_answer,
    parse_request,
)
from agent.usb.errors import MounterAwayError, MountFailedError, MountRefusedError, UsbError
from agent.usb.ports import Mounted

PORT_PATHS = st.from_regex(r"[0-9]{1,3}-[0-9]{1,3}(\.[0-9]{1,3}){0,5}", fullmatch=True).filter(str.isascii)
VOLUMES = st.builds(
    Volume,
    lun=st.integers(0, MAX_LUN),
    partition=st.integers(0, MAX_PARTITION),
    generation=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=64),
)
REQUESTS = st.one_of(
    st.builds(Request, act=st.just(Act.UNMOUNT), port_path=PORT_PATHS, volume=st.none()),
    st.builds(
        Request,
        act=st.sampled_from([Act.MOUNT_READ_ONLY, Act.REMOUNT_FOR_RELEASE]),
        port_path=PORT_PATHS,
        volume=VOLUMES,
    ),
)
MOUNTS = st.builds(
    Mounted,
    directory=st.just(b"/run/zhilu/bays/1-2.4/0-1-17"),
    mount_id=st.integers(0, 2**62),
    fs_type=st.sampled_from(["vfat", "exfat", "ext4"]),
    writable=st.booleans(),
)
ANSWERED: tuple[type[AgentError], ...] = (MounterAwayError, *CROSSING.values())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@given(REQUESTS)
def test_a_request_arrives_as_it_was_sent(request: Request) -> None:
    line = encode_request(request)
    assert len(line) <= MAX_LINE_BYTES
    assert parse_request(line) == request


@given(MOUNTS | st.none())
def test_an_answer_arrives_as_it_was_sent(mounted: Mounted | None) -> None:
    assert parse_answer(encode_answer(mounted)) == mounted


@pytest.mark.parametrize("kind", CROSSING.values(), ids=CROSSING)
@given(message=st.text(max_size=5_000))
def test_an_error_arrives_as_the_kind_it_was(kind: type[AgentError], message: str) -> None:
    line = encode_error(kind(message))
    assert len(line) <= MAX_LINE_BYTES
    with pytest.raises(kind):
        parse_answer(line)


def test_an_error_of_a_kind_the_client_does_not_know_is_still_an_error() -> None:
    with pytest.raises(MountFailedError, match="in another way"):
        parse_answer(encode_error(UsbError("failed in another way")))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_refused(line: bytes) -> None:
    try:
        parse_request(line + b"\n")
    except MountRefusedError:
        return


@given(st.binary(max_size=200))
def test_any_bytes_are_an_answer_or_the_helper_counts_as_away(line: bytes) -> None:
    try:
        parse_answer(line + b"\n")
    except ANSWERED:
        return


@given(REQUESTS, st.data())
def test_a_request_with_any_member_altered_added_or_missing_never_becomes_something_else(
    request: Request, data: st.DataObject
) -> None:
    fields = json.loads(encode_request(request))
    name = data.draw(st.sampled_from(sorted(fields)) | st.text(max_size=8))
    value = data.draw(JSON | st.just(...))
    if value is ...:
        fields.pop(name, None)
    else:
        fields[name] = value
    line = json.dumps(fields).encode() + b"\n"
    try:
        parsed = parse_request(line)
    except MountRefusedError:
        return
    assert json.loads(encode_request(parsed)) == fields


@pytest.mark.parametrize(
    "line",
    [
        b'{"version":1,"request":"unmount","port_path":"1-1"}',
        b'{"version":1,"request":"unmount","port_path":"1-1","port_path":"1-2"}\n',
        b'{"version":true,"request":"unmount","port_path":"1-1"}\n',
        b'{"version":2,"request":"unmount","port_path":"1-1"}\n',
        b'{"version":1,"request":"unmount","port_path":"1-1/.."}\n',
        b'{"version":1,"request":"unmount","port_path":"1-1\\n"}\n',
        b'{"version":1,"request":"unmount","port_path":"usb1"}\n',
        b'{"version":1,"request":"unmount","port_path":"1-1","lun":0}\n',
        b'{"version":1,"request":"format","port_path":"1-1"}\n',
        b'["version",1]\n',
        b"[" * 2_000 + b"\n",
        b'{"version":' + b"9" * 4_000 + b"}\n",
        b'{"version":1,"request":"unmount","port_path":"' + b"1" * MAX_LINE_BYTES + b'"}\n',
    ],
)
def test_what_is_not_exactly_a_request_is_refused(line: bytes) -> None:
    with pytest.raises(MountRefusedError):
        parse_request(line)
