"""Daemons of the bench: started on loopback and free ports, stopped by their process id, their CPU time counted."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.bench_measure import Usage, children_of, usage_of
from scripts.demo_processes import DemoError, free_port

_START_S: Final = 10.0
_STOP_S: Final = 10.0


class Daemon:
    """One peer's server. It ends with this process, even a killed one."""

    def __init__(
        self, name: str, command: Sequence[str], *, port: int, log: Path, forks: bool = False
    ) -> None:
        """``forks``: it makes a child for each connection, whose time counts once it has ended."""
        self.name = name
        self._forks = forks
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", "--", *command],
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
            )
        try:
            self._wait(port, log)
        except BaseException:
            self.stop()
            raise

    def _wait(self, port: int, log: Path) -> None:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.05)
        raise DemoError(f"{self.name} does not listen, see {log}")

    def wait_idle(self) -> None:
        """Until no connection is served any more, where that can be seen."""
        deadline = time.monotonic() + _STOP_S
        while self._forks and children_of(self._process.pid) and time.monotonic() < deadline:
            time.sleep(0.01)

    @property
    def usage(self) -> Usage:
        """Of the process and of the workers it has."""
        own = usage_of(self._process.pid)
        workers = [usage_of(pid) for pid in children_of(self._process.pid)]
        return Usage(
            cpu_s=own.cpu_s + sum(one.cpu_s for one in workers),
            children_cpu_s=own.children_cpu_s,
            peak_bytes=max(one.peak_bytes for one in (own, *workers)),
        )

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A self-signed certificate for 127.0.0.1 and its key."""

    certificate: Path
    key: Path

    @classmethod
    def make(cls, folder: Path) -> Certificate:
        made = cls(certificate=folder / "peer.crt", key=folder / "peer.key")
        subprocess.run(
            [
                "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
                "-keyout", str(made.key), "-out", str(made.certificate),
            ],
            check=True,
            capture_output=True,
        )  # fmt: skip
        return made


class Servers:
    """Makes the peers' daemons in ``folder``; whatever was started ends with ``stack``."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._stack = stack
        self._daemons: list[Daemon] = []
        self.tls = Certificate.make(folder)

    @property
    def usage(self) -> Mapping[str, Usage]:
        """Of every daemon, those that serve one connection by a child included."""
        for daemon in self._daemons:
            daemon.wait_idle()
        return {daemon.name: daemon.usage for daemon in self._daemons}

    def rsync(self, target: Path) -> int:
        """An rsync daemon whose module ``target`` is that folder."""
        port = free_port()
        config = self._write(
            "rsyncd.conf",
            f"use chroot = no\naddress = 127.0.0.1\nport = {port}\nlog file = {self._folder}/rsyncd.log\n"
            f"pid file = {self._folder}/rsyncd.pid\n{_rsync_user()}"
            f"[target]\npath = {target}\nread only = no\n",
        )
        command = ("rsync", "--daemon", "--no-detach", f"--config={config}")
        self._start("rsync daemon", port, *command, forks=True)
        return port

    def tls_tunnel(self, port: int) -> int:
        """stunnel on both sides of ``port``, as one would between two machines; the plain end for the client."""
        middle, near = free_port(), free_port()
        common = "foreground = yes\ndebug = 4\nsslVersionMin = TLSv1.3\n"
        far = self._write(
            "stunnel-far.conf",
            f"{common}pid =\n[far]\naccept = 127.0.0.1:{middle}\nconnect = 127.0.0.1:{port}\n"
            f"cert = {self.tls.certificate}\nkey = {self.tls.key}\n",
        )
        self._start("stunnel, server side", middle, "stunnel", str(far))
        client = self._write(
            "stunnel-near.conf",
            f"{common}pid =\nclient = yes\n[near]\naccept = 127.0.0.1:{near}\nconnect = 127.0.0.1:{middle}\n"
            f"CAfile = {self.tls.certificate}\nverifyChain = yes\n",
        )
        self._start("stunnel, client side", near, "stunnel", str(client))
        return near

    def nginx(self, target: Path) -> int:
        """nginx with WebDAV over https, one worker a core."""
        port = free_port()
        config = self._write(
            "nginx.conf",
            f"daemon off;\nworker_processes auto;\npid {self._folder}/nginx.pid;\n{_nginx_user()}"
            f"error_log {self._folder}/nginx-error.log;\nevents {{ }}\n"
            f"http {{\n access_log off;\n client_max_body_size 0;\n client_body_temp_path {self._folder}/body;\n"
            f" proxy_temp_path {self._folder}/t1;\n fastcgi_temp_path {self._folder}/t2;\n"
            f" uwsgi_temp_path {self._folder}/t3;\n scgi_temp_path {self._folder}/t4;\n"
            f" server {{\n  listen 127.0.0.1:{port} ssl;\n  ssl_certificate {self.tls.certificate};\n"
            f"  ssl_certificate_key {self.tls.key};\n  ssl_protocols TLSv1.3;\n"
            f"  location / {{ root {target}; dav_methods PUT MKCOL; create_full_put_path on; }}\n }}\n}}\n",
        )
        self._start("nginx", port, "nginx", "-c", str(config), "-e", str(self._folder / "nginx-early.log"))
        return port

    def rclone(self, target: Path) -> int:
        """rclone serving WebDAV over https."""
        port = free_port()
        self._start(
            "rclone serve", port, "rclone", "serve", "webdav", str(target), "--addr", f"127.0.0.1:{port}",
            "--cert", str(self.tls.certificate), "--key", str(self.tls.key),
            "--config", os.devnull, "--vfs-cache-mode", "off",
        )  # fmt: skip
        return port

    def _write(self, name: str, text: str) -> Path:
        path = self._folder / name
        path.write_text(text)
        return path

    def _start(self, name: str, port: int, *command: str, forks: bool = False) -> None:
        log = self._folder / f"{name.replace(' ', '-')}.log"
        daemon = Daemon(name, command, port=port, log=log, forks=forks)
        self._stack.callback(daemon.stop)
        self._daemons.append(daemon)


def _rsync_user() -> str:
    return "uid = 0\ngid = 0\n" if os.geteuid() == 0 else ""


def _nginx_user() -> str:
    """Workers of a root's nginx become nobody otherwise and cannot write into our folder."""
    return "user root;\n" if os.geteuid() == 0 else ""
