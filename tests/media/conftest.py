"""The real sandbox and renderer, or the reason why they are not there."""

from __future__ import annotations

import pytest

from agent.errors import SandboxUnavailableError
from agent.media.render import FfmpegRenderer
from agent.media.sandbox import Sandbox
from tests.support.foreign import missing


@pytest.fixture
async def sandbox() -> Sandbox:
    sandbox = Sandbox()
    try:
        await sandbox.check()
    except SandboxUnavailableError as error:
        missing(str(error))
    return sandbox


@pytest.fixture
async def renderer(sandbox: Sandbox) -> FfmpegRenderer:
    try:
        return await FfmpegRenderer.open(sandbox)
    except SandboxUnavailableError as error:
        missing(str(error))
