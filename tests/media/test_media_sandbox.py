"""Does the real sandbox hide other files, the network and other processes, and hold its limits?"""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from agent.errors import MediaLimitError, MediaTimeoutError, MediaUnreadableError, SandboxUnavailableError
from agent.media.limits import MIB, PROBE_BUDGET
from agent.media.sandbox import Sandbox, SystemLayout

pytestmark = pytest.mark.media

_ROOMY = replace(PROBE_BUDGET, file_size_bytes=MIB)


@pytest.fixture
def original(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"the original")
    path.chmod(0o440)
    return path


async def test_the_input_is_readable_under_its_fixed_name(sandbox: Sandbox, original: Path) -> None:
    outcome = await sandbox.run(["cat", "/in/original.mp4"], budget=PROBE_BUDGET, input_path=original)
    assert outcome.output == b"the original"


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "/etc/shadow", "/home", "/root", "/proc/1/environ", "/sys", "/var", "/tmp"]
)
async def test_nothing_else_can_be_read(sandbox: Sandbox, original: Path, path: str) -> None:
    outcome = await sandbox.run(["ls", path], budget=PROBE_BUDGET, input_path=original)
    assert outcome.exit_status != 0
    assert b"No such file" in outcome.message


async def test_the_inputs_neighbours_are_hidden(sandbox: Sandbox, original: Path) -> None:
    (original.parent / "other.mp4").write_bytes(b"another officer's clip")
    outcome = await sandbox.run(["ls", "/in"], budget=PROBE_BUDGET, input_path=original)
    assert outcome.output == b"original.mp4\n"
    outcome = await sandbox.run(
        ["cat", str(original.parent / "other.mp4")], budget=PROBE_BUDGET, input_path=original
    )
    assert outcome.exit_status != 0


@pytest.mark.parametrize(
    "attempt",
    ["echo x > /in/original.mp4", "echo x > /in/new", "rm /in/original.mp4", "echo x > /new", "echo x > /dev/new",
     "mkdir /tmp", "chmod 777 /in/original.mp4", "echo x > /usr/new"],
)  # fmt: skip
async def test_nothing_can_be_changed(sandbox: Sandbox, original: Path, attempt: str) -> None:
    outcome = await sandbox.run(["sh", "-c", attempt], budget=_ROOMY, input_path=original)
    assert outcome.exit_status != 0
    assert original.read_bytes() == b"the original"
    assert original.stat().st_mode & 0o777 == 0o440


async def test_only_the_output_folder_can_be_written(
    sandbox: Sandbox, original: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    outcome = await sandbox.run(
        ["sh", "-c", "cat /in/original.mp4 > /out/copy"],
        budget=_ROOMY,
        input_path=original,
        output_folder=folder,
    )
    assert outcome.exit_status == 0
    assert (folder / "copy").read_bytes() == b"the original"


async def test_the_network_is_not_there(sandbox: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"/dev/tcp/127.0.0.1/{server.getsockname()[1]}"
        outcome = await sandbox.run(["bash", "-c", f"exec 3<>{address}"], budget=_ROOMY)
    assert outcome.exit_status != 0
    assert b"refused" in outcome.message or b"unreachable" in outcome.message


async def test_it_runs_as_nobody_without_capabilities_or_secrets(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZHILU_SECRET", "42")
    identity = await sandbox.run(["id", "-u"], budget=PROBE_BUDGET)
    environment = await sandbox.run(["env"], budget=PROBE_BUDGET)
    mount = await sandbox.run(["mount", "-t", "tmpfs", "none", "/usr"], budget=PROBE_BUDGET)
    assert identity.output == b"65534\n"
    assert {line.split(b"=")[0] for line in environment.output.splitlines()} <= {b"PATH", b"LC_ALL", b"PWD"}
    assert mount.exit_status != 0


async def test_a_link_as_input_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    link = tmp_path / "link.mp4"
    link.symlink_to("/etc/passwd")
    with pytest.raises(MediaUnreadableError):
        await sandbox.run(["cat", "/in/original.mp4"], budget=PROBE_BUDGET, input_path=link)


async def test_a_name_with_every_odd_byte_is_no_obstacle(sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "-案 \udcff'\"$(id)\n.mp4"
    path.write_bytes(b"x")
    outcome = await sandbox.run(["ls", "/in"], budget=PROBE_BUDGET, input_path=path)
    assert outcome.output == b"original.mp4\n"


async def test_processor_time_is_limited(sandbox: Sandbox) -> None:
    with pytest.raises(MediaLimitError):
        await sandbox.run(["sh", "-c", "while :; do :; done"], budget=replace(_ROOMY, cpu_s=1))


async def test_what_it_writes_is_limited(sandbox: Sandbox, tmp_path: Path) -> None:
    command = ["sh", "-c", "exec head -c 5000000 /dev/zero > /out/big"]
    with pytest.raises(MediaLimitError):
        await sandbox.run(command, budget=_ROOMY, output_folder=tmp_path)
    assert (tmp_path / "big").stat().st_size <= MIB


async def test_memory_is_limited(sandbox: Sandbox) -> None:
    budget = replace(_ROOMY, memory_bytes=64 * MIB)
    outcome = await sandbox.run(["dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"], budget=budget)
    assert outcome.exit_status != 0


async def test_the_deadline_ends_everything_inside(sandbox: Sandbox, original: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    script = "(while :; do echo x > /out/still-here; sleep 0.01; done) & sleep 1000"
    with pytest.raises(MediaTimeoutError):
        await sandbox.run(
            ["sh", "-c", script],
            budget=replace(_ROOMY, deadline_s=1.0),
            input_path=original,
            output_folder=folder,
        )
    (folder / "still-here").unlink(missing_ok=True)
    assert list(folder.iterdir()) == [], "the background process would have written it again"


async def test_where_it_does_not_work_nothing_is_run_and_the_error_helps() -> None:
    broken = Sandbox(SystemLayout(links=(), folders=("/no-such-folder",)))
    with pytest.raises(SandboxUnavailableError, match="apt install bubblewrap"):
        await broken.check()
