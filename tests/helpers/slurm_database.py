"""Slurm's accounting database for the Slurm of tests.helpers.slurm: MariaDB and slurmdbd, which end with that Slurm.

MariaDB listens on the loopback interface, with a password that nobody knows, on data in the folder of that Slurm.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import time
from pathlib import Path

PROGRAMS = ("mariadbd", "mariadb-install-db", "slurmdbd", "sacct", "sacctmgr")
CONFIGURATION = "slurmdbd.conf"
ACCOUNT = "my_account"
"""The account of slurm/two-partitions.yaml."""
PORT = 6816
"""Of slurmdbd. Its default, 6819, is that of a node."""
TIMEOUT_S = 120

SLURMDBD_CONF = """\
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={dbd_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
PidFile={folder}/slurmdbd.pid
LogFile={folder}/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={port}
StorageUser=slurm
StoragePass={password}
"""
USER = """\
CREATE USER 'slurm'@'127.0.0.1' IDENTIFIED BY '{password}';
GRANT ALL ON slurm_acct_db.* TO 'slurm'@'127.0.0.1';
DROP USER IF EXISTS 'root'@'localhost', 'root'@'127.0.0.1', ''@'localhost';
"""
SLURM_CONF = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={dbd_port}
AccountingStoragePass={folder}/munge.socket
AccountingStorageEnforce=associations
AccountingStoreFlags=job_comment
JobAcctGatherType=jobacct_gather/linux
"""
"""Jobs without a known account are refused, as at many sites. The password is where Munge listens."""


def missing() -> str | None:
    """Why there can be no accounting database here, or None."""
    absent = [name for name in PROGRAMS if program(name) is None]
    return f"not installed: {', '.join(absent)}; apt-get install slurmdbd mariadb-server" if absent else None


def program(name: str) -> str | None:
    """The path of a program that Debian may keep outside a user's PATH."""
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def write(folder: Path, mark: str) -> None:
    """Write the configuration of both programs into `folder`; slurmdbd's begins with `mark`."""
    password, port = secrets.token_hex(16), _free_port()
    text = SLURMDBD_CONF.format(folder=folder, dbd_port=PORT, port=port, password=password)
    _private(folder / CONFIGURATION, mark + text)
    _private(folder / "user.sql", USER.format(password=password))
    _private(folder / "mariadb.port", str(port))


def settings(folder: Path) -> str:
    """Lines of slurm.conf."""
    return SLURM_CONF.format(folder=folder, dbd_port=PORT)


def start(folder: Path) -> None:
    """Start both programs. Munge must run, and CONFIGURATION be where Slurm looks for it."""
    data = folder / "mariadb"
    common = ["--no-defaults", f"--datadir={data}", "--user=root"]
    options = [*common, "--skip-test-db", "--auth-root-authentication-method=normal"]
    done = subprocess.run([str(program("mariadb-install-db")), *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with (folder / "mariadb.log").open("w") as log:
        # forked, so that the system and not this process must collect it when it ends
        subprocess.run(
            [
                "setsid", "--fork", str(program("mariadbd")), *common, f"--socket={folder}/mariadb.socket",
                f"--pid-file={folder}/mariadb.pid", "--bind-address=127.0.0.1", "--skip-name-resolve",
                f"--port={(folder / 'mariadb.port').read_text()}", f"--init-file={folder}/user.sql",
                "--innodb-lock-wait-timeout=900", "--innodb-flush-log-at-trx-commit=0",
            ],
            check=True, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    _wait_for_port(int((folder / "mariadb.port").read_text()), "MariaDB", folder)
    done = subprocess.run([str(program("slurmdbd"))], capture_output=True, text=True)
    assert done.returncode == 0, f"slurmdbd: {done.stderr}"
    _wait_for_port(PORT, "slurmdbd", folder)


def add_account() -> None:
    """Let root's jobs be charged to ACCOUNT. The cluster is known once slurmctld has spoken to slurmdbd."""
    for entity in (["account", ACCOUNT], ["user", "root", f"account={ACCOUNT}"]):
        done = subprocess.run(["sacctmgr", "--immediate", "add", *entity], capture_output=True, text=True)
        assert done.returncode == 0, f"{entity}: {done.stdout}{done.stderr}"


def _private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def _wait_for_port(port: int, what: str, folder: Path) -> None:
    end = time.monotonic() + TIMEOUT_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.2)
    logs = "\n".join(path.read_text()[-3000:] for path in sorted(folder.glob("*.log")))
    raise TimeoutError(f"{what}: no answer after {TIMEOUT_S} s\n{logs}")
