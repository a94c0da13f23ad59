"""Talks with a device by its family's profile: probe, ask, switch; later, in a conversation of its own, set the clock.

Guarantees: nothing but probes is sent before all probes were answered as expected; nothing is sent twice; the password
shows in no result and no error; whatever the device answers, the conversation ends, in one of the ways of ``End``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from enum import StrEnum
from typing import Final

from agent.core.recorder_clock import measure_clock
from agent.keys.secrets import Password
from agent.usb.errors import DeviceGoneError, DeviceSilentError, TransferRefusedError
from agent.usb.ports import UsbChannel
from agent.usb.transfers import exchange
from firmware_profiles.answers import DeviceFacts, merge_facts
from firmware_profiles.device import UsbProfile
from firmware_profiles.device_steps import Bulk, Exchange, HidReport, Reenumerate, Step, Wait
from firmware_profiles.errors import PasswordUnfitError
from firmware_profiles.templates import Payload, shown_without
from protocol.statements import RecorderClock

SHOWN_BYTES: Final = 32
"""Of each message, in transcripts: enough to recognise an answer."""

_LEFT_OVER_MS: Final = 20
_MOST_LEFT_OVERS: Final = 16
_LEFT_OVER_BYTES: Final = 4096


class End(StrEnum):
    """How a conversation can end before its time. Codes reach the bay's tile and the log."""

    NOT_THIS_FAMILY = "not-this-family"
    PASSWORD_MISSING = "password-missing"  # noqa: S105 - a code
    PASSWORD_UNFIT = "password-unfit"  # noqa: S105
    WRONG_PASSWORD = "wrong-password"  # noqa: S105
    SILENT = "device-silent"
    REFUSED = "device-refused"
    GONE = "device-gone"


class Direction(StrEnum):
    """Of a message, as seen from the station."""

    OUT = "out"
    IN = "in"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a transcript: where it belongs, its length, its first bytes in hexadecimal with ``**`` for each
    byte of a password."""

    section: str
    step: str
    direction: Direction
    length: int
    first: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Talked:
    """The conversation went to its end. ``then`` is what the device does next, if the family re-enumerates."""

    facts: DeviceFacts
    clock: RecorderClock | None
    then: Reenumerate | None
    transcript: tuple[Message, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The conversation ended at a step; ``facts`` are what was learnt before."""

    end: End
    section: str
    step: str
    facts: DeviceFacts
    clock: RecorderClock | None
    transcript: tuple[Message, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StationTime:
    """Time as the conversation is told it. ``monotonic_s`` never jumps; ``sleep_s`` blocks."""

    now: Callable[[], datetime]
    monotonic_s: Callable[[], float]
    sleep_s: Callable[[float], None]
    zone: tzinfo


def converse(
    channel: UsbChannel, profile: UsbProfile, *, interface: int, password: Password | None, time: StationTime
) -> Talked | Ended:
    """Probe, ask, switch. Blocks for at most the timeouts of the steps together. Raises other errors of
    ``agent.usb.errors`` than those that are an ``End``."""
    sections = (("probe", profile.probe), ("ask", profile.ask), ("switch", profile.switch))
    return _Talk(channel, interface, password, time).hold(sections, profile.reenumeration)


def set_clock(
    channel: UsbChannel, profile: UsbProfile, *, interface: int, password: Password | None, time: StationTime
) -> Talked | Ended:
    """Probe, then set the recorder's clock. As ``converse``."""
    sections = (("probe", profile.probe), ("set_clock", profile.set_clock))
    return _Talk(channel, interface, password, time).hold(sections, None)


class _Over(Exception):  # noqa: N818 - an end, not an error
    def __init__(self, end: End) -> None:
        super().__init__(end)
        self.end = end


@dataclass(slots=True)
class _Talk:
    """One conversation while it lasts."""

    channel: UsbChannel
    interface: int
    password: Password | None
    time: StationTime
    facts: DeviceFacts = field(default_factory=DeviceFacts)
    clock: RecorderClock | None = None
    said: list[Message] = field(default_factory=list)
    section: str = ""
    step: str = ""

    def hold(
        self, sections: tuple[tuple[str, tuple[Step, ...]], ...], then: Reenumerate | None
    ) -> Talked | Ended:
        try:
            self._clear([step for _, steps in sections for step in steps])
            for self.section, steps in sections:
                self._go_through(steps)
        except _Over as over:
            return self._ended(over.end)
        except DeviceGoneError:
            return self._ended(End.GONE)
        except DeviceSilentError:
            return self._ended(End.SILENT)
        except PasswordUnfitError:
            return self._ended(End.PASSWORD_UNFIT)
        return Talked(facts=self.facts, clock=self.clock, then=then, transcript=tuple(self.said))

    def _ended(self, end: End) -> Ended:
        return Ended(
            end=end,
            section=self.section,
            step=self.step,
            facts=self.facts,
            clock=self.clock,
            transcript=tuple(self.said),
        )

    def _clear(self, steps: list[Step]) -> None:
        """Takes what is left of a conversation that was broken off: else every answer would be the one before."""
        transports = (step.transport for step in steps if isinstance(step, Exchange))
        endpoints = {point.in_endpoint for point in transports if isinstance(point, Bulk | HidReport)}
        for endpoint in sorted(endpoint for endpoint in endpoints if endpoint is not None):
            if not self._falls_silent(endpoint):
                raise _Over(End.NOT_THIS_FAMILY)

    def _falls_silent(self, endpoint: int) -> bool:
        for _ in range(_MOST_LEFT_OVERS):
            try:
                self.channel.read(endpoint, _LEFT_OVER_BYTES, timeout_ms=_LEFT_OVER_MS)
            except (DeviceSilentError, TransferRefusedError):
                return True
        return False

    def _go_through(self, steps: tuple[Step, ...]) -> None:
        ends_with_leaving = bool(steps) and isinstance(steps[-1], Reenumerate)
        exchanges = [number for number, step in enumerate(steps) if isinstance(step, Exchange)]
        for number, step in enumerate(steps):
            self.step = step.name
            if isinstance(step, Wait):
                self.time.sleep_s(step.ms / 1000)
            elif isinstance(step, Exchange):
                self._hold_exchange(step, may_leave=ends_with_leaving and number == exchanges[-1])

    def _hold_exchange(self, step: Exchange, *, may_leave: bool) -> None:
        try:
            self._exchange(step)
        except TransferRefusedError:
            self._judge_no(step, is_no=step.refused_by_stall)
        except DeviceGoneError:
            if not may_leave:
                raise

    def _exchange(self, step: Exchange) -> None:
        payload = self._payload(step)
        if payload is not None:
            self._note(step, Direction.OUT, len(payload.data), payload.shown(SHOWN_BYTES))
        asked_at, started_s = self.time.now(), self.time.monotonic_s()
        answer = exchange(self.channel, self.interface, step, payload.data if payload else b"")
        round_trip = timedelta(seconds=self.time.monotonic_s() - started_s)
        if answer is None or step.expect is None:
            return
        secret = b"" if self.password is None else self.password.reveal()
        self._note(step, Direction.IN, len(answer), shown_without(answer, secret, SHOWN_BYTES))
        if step.refused is not None and step.refused.match(answer) is not None:
            self._judge_no(step, is_no=True)
            return
        texts = step.expect.match(answer)
        if texts is None:
            self._judge_no(step, is_no=False)
            return
        self._learn(step.expect.facts(texts, self.time.zone), asked_at, round_trip)

    def _payload(self, step: Exchange) -> Payload | None:
        if step.payload is None:
            return None
        if step.uses_password and self.password is None:
            raise _Over(End.PASSWORD_MISSING)
        secret = b"" if self.password is None else self.password.reveal()
        return step.payload.render(password=secret, local_time=self.time.now().astimezone(self.time.zone))

    def _judge_no(self, step: Exchange, *, is_no: bool) -> None:
        """The step was not answered as expected; ``is_no``: in the family's way of saying no."""
        if is_no and step.uses_password:
            raise _Over(End.WRONG_PASSWORD)
        if self.section == "probe":
            raise _Over(End.NOT_THIS_FAMILY)
        if self.section != "ask":
            raise _Over(End.REFUSED)

    def _learn(self, facts: DeviceFacts, asked_at: datetime, round_trip: timedelta) -> None:
        self.facts = merge_facts(self.facts, facts)
        if self.clock is None and facts.clock is not None and facts.clock_step is not None:
            self.clock = measure_clock(
                shown=facts.clock,
                step=facts.clock_step,
                asked_at=asked_at,
                round_trip=round_trip,
                method="usb question, middle of the round trip",
            )

    def _note(self, step: Exchange, direction: Direction, length: int, first: str) -> None:
        self.said.append(
            Message(section=self.section, step=step.name, direction=direction, length=length, first=first)
        )
