"""Does a bay stay the port it was learnt at, and does a wrong list of bays say what is wrong?"""

from __future__ import annotations

import asyncio
import tomllib
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.commands.bays import learn
from agent.usb.bays import (
    BaysError,
    both_ports,
    load_bays,
    next_name,
    parse_bays,
    port_to_bay,
    store_bays,
)
from agent.usb.ports import DeviceSeen
from tests.support.memory_usb import MemoryUsbBus
from tests.support.usb_recorders import Disk

_NAMES = st.from_regex(r"[0-9A-Za-z_-]{1,32}", fullmatch=True)
_PORTS = st.from_regex(r"[1-9]-[1-9](\.[1-9]){0,3}", fullmatch=True)


@given(bays=st.dictionaries(_NAMES, st.lists(_PORTS, min_size=1, max_size=2, unique=True), max_size=5))
def test_what_is_stored_is_what_is_loaded(
    bays: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    ports = [port for listed in bays.values() for port in listed]
    path = tmp_path_factory.mktemp("bays") / "bays.toml"
    store_bays(path, bays)
    if len(set(ports)) < len(ports):
        with pytest.raises(BaysError):
            load_bays(path)
    else:
        assert load_bays(path) == {name: tuple(listed) for name, listed in bays.items()}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[bays]\nA01 = "1-2"\nA02 = ["3-1", "1-2"]', "port 1-2 is bay A01 and bay A02"),
        ('[bays]\nA01 = "usb1"', "a port is like"),
        ('[bays]\nA01 = "1-2/../../sda"', "a port is like"),
        ("[bays]\nA01 = []", "has a port"),
        ('[bays]\n"A 01" = "1-2"', "is named with"),
        ('[ports]\nA01 = "1-2"', "one table"),
    ],
)
def test_a_wrong_list_says_what_is_wrong(text: str, why: str) -> None:
    with pytest.raises(BaysError, match=why):
        parse_bays(tomllib.loads(text))


@given(data=st.binary(max_size=200))
def test_any_bytes_are_a_list_or_an_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("bays") / "bays.toml"
    path.write_bytes(data)
    with suppress(BaysError):
        bays = load_bays(path)
        assert set(port_to_bay(bays).values()) == set(bays)


def test_without_a_list_there_are_no_bays(tmp_path: Path) -> None:
    assert load_bays(tmp_path / "bays.toml") == {}


def test_names_fill_gaps() -> None:
    assert next_name({}, "A") == "A01"
    assert next_name({"A01": ("1-1",), "A03": ("1-3",)}, "A") == "A02"


@pytest.mark.parametrize(
    ("port", "place", "target", "ports"),
    [
        ("1-2", "1-0:1.0/usb1-port2", "../../usb2/2-0:1.0/usb2-port3", ("1-2", "2-3")),
        ("1-2.4", "1-2:1.0/1-2-port4", "../../../2-2/2-2:1.0/2-2-port4", ("1-2.4", "2-2.4")),
        ("1-2.4.1", "1-2.4:1.0/1-2.4-port1", "../../x/2-2.4:1.0/2-2.4-port1", ("1-2.4.1", "2-2.4.1")),
        ("1-5", "1-0:1.0/usb1-port5", None, ("1-5",)),
        ("1-5", "1-0:1.0/usb1-port5", "../../nonsense", ("1-5",)),
    ],
)
def test_a_socket_for_usb_3_is_one_bay(
    tmp_path: Path, port: str, place: str, target: str | None, ports: tuple[str, ...]
) -> None:
    (tmp_path / place).mkdir(parents=True)
    if target is not None:
        (tmp_path / place / "peer").symlink_to(target)
    assert both_ports(port, tmp_path) == ports


async def test_what_is_plugged_in_one_after_the_other_names_the_bays(tmp_path: Path) -> None:
    bus, path = MemoryUsbBus(), tmp_path / "bays.toml"
    bus.plug(Disk(), "1-1")  # there from the start: a disk of the station, or a mouse
    told: asyncio.Queue[tuple[str, bool]] = asyncio.Queue()

    def learnt(name: str, device: DeviceSeen, is_new: bool) -> None:
        told.put_nowait((name, is_new))

    task = asyncio.create_task(
        learn(bus, path, prefix="A", learnt=learnt, both=lambda port: (port, f"2{port[1:]}"))
    )
    try:
        async with asyncio.timeout(30):
            for port, expected in [("1-2", ("A01", True)), ("1-3", ("A02", True)), ("2-2", ("A01", False))]:
                while not bus.listened_to:
                    await asyncio.sleep(0)
                bus.plug(Disk(), port)
                assert await told.get() == expected
                bus.unplug(port)
    finally:
        task.cancel()
        await asyncio.wait({task})
    assert load_bays(path) == {"A01": ("1-2", "2-2"), "A02": ("1-3", "2-3")}


async def test_a_name_that_is_none_is_not_learnt(tmp_path: Path) -> None:
    bus, path = MemoryUsbBus(), tmp_path / "bays.toml"
    store_bays(path, {"A01": ("1-1",)})
    task = asyncio.create_task(
        learn(bus, path, prefix="a bay ", learnt=lambda *_: None, both=lambda port: (port,))
    )
    while not bus.listened_to:
        await asyncio.sleep(0)
    bus.plug(Disk(), "1-2")
    with pytest.raises(BaysError, match="is named with"):
        await asyncio.wait_for(task, 30)
    assert load_bays(path) == {"A01": ("1-1",)}
