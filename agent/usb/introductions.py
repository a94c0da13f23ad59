"""Getting to know a device at a bay (识别与对话): judged by what it shows, then asked by the families it may be of."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from agent.core.devices import judge_device
from agent.core.docking import RETRY_S, Answer, Ready, Switched, Trouble, trouble_of
from agent.errors import AgentError
from agent.keys.secrets import Secrets
from agent.ports import NOTHING_SAID, DeviceFacts
from agent.usb.conversation import End, Ended, StationTime, Talked, converse
from agent.usb.ports import DeviceSeen, UsbBus
from firmware_profiles.schema import Profile

_LOG: Final = logging.getLogger(__name__)

_PASSING: Final = frozenset({End.SILENT, End.GONE})


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyIntroductions:
    """``Introductions`` by the station's profiles. ``turned_on`` are the families the operator has turned on."""

    bus: UsbBus
    profiles: Sequence[Profile]
    secrets: Secrets
    time: StationTime
    turned_on: Collection[str] = ()

    def talk(self, device: DeviceSeen) -> Answer:
        """See ``Introductions``. A wrong password is never tried twice: the bay waits for a person."""
        judgement = judge_device(device, self.profiles, self.turned_on)
        if isinstance(judgement, Trouble):
            return judgement
        said_no: list[str] = []
        for profile, interface in judgement.families:
            try:
                talked = self._ask(device, profile, interface)
            except AgentError as error:
                return trouble_of(error)
            if isinstance(talked, Talked):
                return _answer(profile, talked)
            if talked.end is not End.NOT_THIS_FAMILY:
                return _over(profile, talked)
            said_no.append(profile.id)
        if judgement.is_disk:
            return Ready(NOTHING_SAID)
        return Trouble(code=End.NOT_THIS_FAMILY, detail=f"asked as {', '.join(said_no)}")

    def _ask(self, device: DeviceSeen, profile: Profile, interface: int) -> Talked | Ended:
        assert profile.usb is not None
        password = self.secrets.password(profile.id) if profile.usb.needs_password else None
        with self.bus.open(device, interface=interface) as channel:
            talked = converse(channel, profile.usb, interface=interface, password=password, time=self.time)
        for message in talked.transcript:
            _LOG.info(
                "usb.said", extra={"port": device.port_path, "family": profile.id, "said": str(message)}
            )
        return talked


def _answer(profile: Profile, talked: Talked) -> Answer:
    said = talked.facts
    facts = DeviceFacts(
        family=profile.id,
        recorder=said.recorder,
        officer=said.officer,
        battery_percent=said.battery_percent,
        firmware=said.firmware,
        clock=talked.clock,
    )
    return Ready(facts) if talked.then is None else Switched(facts, within_s=talked.then.within_s)


def _over(profile: Profile, ended: Ended) -> Trouble:
    return Trouble(
        code=ended.end,
        detail=f"{profile.id}: {ended.section} {ended.step}",
        retry_after_s=RETRY_S if ended.end in _PASSING else None,
    )
