"""Does every subcommand that is offered lead somewhere, and only when it is asked for?"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Mapping

import pytest

import agent.cli
import agent.commands
import collector.cli
import collector.commands

SIDES = [(agent.cli._parser, agent.commands.COMMANDS), (collector.cli._parser, collector.commands.COMMANDS)]


def offered(parser: argparse.ArgumentParser) -> set[str]:
    (subcommands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return set(subcommands.choices)


@pytest.mark.parametrize(("parser", "commands"), SIDES, ids=["agent", "collector"])
def test_what_the_parser_offers_is_what_there_is(
    parser: Callable[[], argparse.ArgumentParser], commands: Mapping[str, str]
) -> None:
    assert offered(parser()) == set(commands)


@pytest.mark.parametrize("name", agent.commands.COMMANDS)
def test_every_command_of_the_station_is_found(name: str) -> None:
    assert callable(agent.commands.find(name))


@pytest.mark.parametrize("name", collector.commands.COMMANDS)
def test_every_command_of_the_collector_is_found(name: str) -> None:
    assert callable(collector.commands.find(name))


def test_looking_at_the_status_does_not_load_the_station() -> None:
    program = "import sys; from agent.commands import find; find('status'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"aiohttp", "paho", "cryptography", "agent.app"} & set(done.stdout.split())
