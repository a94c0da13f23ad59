"""Is progress a line on a terminal, and nothing at all in a pipe?"""

from __future__ import annotations

import io

from collector.commands.output import ProgressLine


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_pipe_sees_nothing() -> None:
    pipe = io.StringIO()
    line = ProgressLine(pipe)
    line.show("objects", 1, 2)
    line.close()
    assert pipe.getvalue() == ""


def test_a_step_says_how_much_of_how_much() -> None:
    terminal = Terminal()
    ProgressLine(terminal).show("objects", 1500, 3000)
    assert terminal.getvalue().endswith("objects 1,500 / 3,000 (50 %)")


def test_a_step_of_unknown_length_counts() -> None:
    terminal = Terminal()
    ProgressLine(terminal).show("objects", 0, None)
    assert terminal.getvalue().endswith("objects 0")


def test_it_redraws_seldom_but_always_shows_the_end() -> None:
    terminal, clock = Terminal(), Clock()
    line = ProgressLine(terminal, clock)
    for done in range(1, 101):
        line.show("objects", done, 100)
    assert terminal.getvalue().count("\r") == 2
    assert "100 / 100 (100 %)" in terminal.getvalue()


def test_each_step_keeps_its_line() -> None:
    terminal = Terminal()
    line = ProgressLine(terminal)
    line.show("log", 1, 1)
    line.show("objects", 1, 1)
    line.close()
    assert terminal.getvalue().count("\n") == 2
