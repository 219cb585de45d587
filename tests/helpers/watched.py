"""Runs a command where only the loopback interface exists, and tells what tried to leave it.

`watched.py REPORT COMMAND…`. Two witnesses: Python's audit events in every process (a `sitecustomize` on PYTHONPATH),
and the kernel's counters of packets without a route, which see other languages' code too. The second one needs root.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

SITE = """
import os, sys

LOCAL = ("127.", "::1", "localhost", "0.0.0.0")

def watch(event, arguments):
    if event in ("socket.connect", "socket.sendto"):
        host = arguments[1][0] if isinstance(arguments[1], tuple) else "localhost"
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyname_ex"):
        host = arguments[0] or "localhost"
    else:
        return
    host = host.decode() if isinstance(host, bytes) else str(host)
    if not host.startswith(LOCAL) and host != os.uname().nodename:
        with open(os.environ["WATCHED"], "a") as file:
            print(f"{event} {host} {sys.argv}", file=file)
        raise OSError(101, "watched: not on the loopback interface")

sys.addaudithook(watch)
"""


def alone(folder: Path, command: list[str], *, skip: bool = True) -> dict[str, Any]:
    """What the witnesses tell of a command that ran in a network namespace of its own; the report lies in `folder`.

    Where root can make none, the test is skipped, or goes on with the other witness if not `skip`.
    """
    report, isolate = folder / "report.json", ["unshare", "--net", "--uts"]
    if subprocess.run([*isolate, "true"], check=False).returncode:
        if skip and os.geteuid() == 0:
            pytest.skip("this machine lets root make no network namespace")
        isolate = []
    subprocess.run([*isolate, sys.executable, __file__, str(report), *command], check=True)
    return json.loads(report.read_text())


def unroutable() -> int:
    """Packets that this network namespace could not send anywhere, since it was made."""
    lines = [line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Ip:")]
    six = dict(line.split() for line in Path("/proc/net/snmp6").read_text().splitlines())
    return int(dict(zip(*lines, strict=True))["OutNoRoutes"]) + int(six["Ip6OutNoRoutes"])


def main(report: Path, command: list[str]) -> None:
    """Run the command and write the report."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=False)
    if len(socket.if_nameindex()) == 1:  # in a namespace of its own: a name that no file on this machine explains
        subprocess.run(["hostname", "nowhere"], check=False)
    before = unroutable()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sitecustomize.py").write_text(SITE)
        attempts = Path(folder) / "attempts"
        attempts.touch()
        environment = {name: value for name, value in os.environ.items() if name != "NO_ALBUMENTATIONS_UPDATE"}
        path = os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])])
        environment |= {"PYTHONPATH": path, "WATCHED": str(attempts), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        told = {"code": done.returncode, "said": done.stderr[-3000:], "attempts": attempts.read_text().splitlines()}
    report.write_text(json.dumps({**told, "unroutable": unroutable() - before}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
