"""A real Slurm on this machine: munged, slurmctld and a slurmd for each of three nodes. Needs root, but no systemd.

As a script it runs a command while Slurm is up: `python -m tests.helpers.slurm COMMAND…`.

Slurm's jobs look for /etc/slurm/slurm.conf only, so one Slurm runs on a machine at a time, and none where a
configuration is there already. Each node claims more CPUs than the machine has, and two GPUs that are terminals:
character devices make Slurm set CUDA_VISIBLE_DEVICES.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil
import yaml

from tests.helpers import REPOSITORY, slurm_database
from tests.helpers.slurm_database import program

CONFIGURATION = Path("/etc/slurm")
LOCK = Path("/tmp/slurm.lock")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun")
FILES = ("slurm.conf", "gres.conf", "cgroup.conf")
LINKS = (*FILES, slurm_database.CONFIGURATION)
CLUSTER = "amorlip"
MARK = "# written by tests/helpers/slurm.py\n"
NODES = ("node1", "node2", "node3")
CPUS = 8
MEMORY_MB = 8000
GPUS = 2
TIMEOUT_S = 60
PATIENCE_S = 400
"""For what a test waits for. The start of a training takes 15 s, but a minute and more on a machine that is busy."""
FREEZER = Path("/sys/fs/cgroup/freezer")

SLURM_CONF = """\
ClusterName={cluster}
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A requeued job waits until its credential expires, 120 s by default.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
MpiDefault=none
ProctrackType=proctrack/{proctrack}
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
ReturnToService=2
# The nodes claim CPUs that the machine does not have.
SlurmdParameters=config_overrides
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmdSpoolDir={folder}/spool-%n
StateSaveLocation={folder}/state
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
SlurmdTimeout=15
KillWait={kill_wait_s}
MinJobAge=900
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0,sched_min_interval=0
{accounting}JobCompType=jobcomp/none
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
{nodes}
PartitionName=gpu  Nodes=ALL Default=YES MaxTime=120 PriorityTier=5 PreemptMode=OFF State=UP
PartitionName=cpu  Nodes=ALL MaxTime=2880 PriorityTier=5 PreemptMode=OFF State=UP
PartitionName=low  Nodes=node1,node2 MaxTime=INFINITE PriorityTier=1 PreemptMode=REQUEUE State=UP
PartitionName=high Nodes=node1,node2 MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF State=UP
"""
NO_ACCOUNTING = "JobAcctGatherType=jobacct_gather/none\nAccountingStorageType=accounting_storage/none\n"
NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} "
    "CPUs={cpus} RealMemory={memory_mb} Gres=gpu:{gpus}"
)
CGROUP_CONF = "CgroupMountpoint=/sys/fs/cgroup\nCgroupPlugin=cgroup/v1\n"


def missing() -> str | None:
    """Why no Slurm can be started here, or None."""
    if os.geteuid() != 0:
        return "only root can start Slurm"
    if absent := [name for name in PROGRAMS if program(name) is None]:
        return f"not installed: {', '.join(absent)}; apt-get install slurmctld slurmd slurm-client munge"
    path = CONFIGURATION / "slurm.conf"
    if path.exists() and not _ours(path):
        return f"this machine has a Slurm of its own: {path}"
    return None


@contextlib.contextmanager
def running(*, kill_wait_s: int = 20, accounting: bool = False) -> Iterator[Slurm]:
    """A started Slurm; waits while another process of this machine runs one.

    Args:
        kill_wait_s: from SIGTERM to SIGKILL.
        accounting: with Slurm's database, where root has one account; see tests.helpers.slurm_database.
    """
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _stop_leftovers()
        slurm = Slurm(Path(tempfile.mkdtemp(prefix="slurm-")), kill_wait_s, accounting)
        try:
            slurm.start()
            yield slurm
        finally:
            slurm.stop()


class Slurm:
    """Daemons and files of one Slurm. `folder` holds its logs until it is stopped."""

    def __init__(self, folder: Path, kill_wait_s: int, accounting: bool) -> None:
        self.folder = folder
        self.accounting = accounting
        self.proctrack = "cgroup" if os.access(FREEZER / "tasks", os.W_OK) else "linuxproc"
        self._write(kill_wait_s)

    def _write(self, kill_wait_s: int) -> None:
        host = socket.gethostname().split(".")[0]
        nodes = [
            NODE.format(name=name, host=host, port=6818 + number, cpus=CPUS, memory_mb=MEMORY_MB, gpus=GPUS)
            for number, name in enumerate(NODES)
        ]
        gres = [
            f"NodeName={name} Name=gpu File=/dev/tty[{number * GPUS}-{number * GPUS + GPUS - 1}] Flags=nvidia_gpu_env"
            for number, name in enumerate(NODES)
        ]
        texts = (
            SLURM_CONF.format(
                cluster=CLUSTER,
                host=host,
                folder=self.folder,
                proctrack=self.proctrack,
                nodes="\n".join(nodes),
                accounting=slurm_database.settings(self.folder) if self.accounting else NO_ACCOUNTING,
                kill_wait_s=kill_wait_s,
            ),
            "\n".join(gres) + "\n",
            CGROUP_CONF,
        )
        for name, text in zip(FILES, texts, strict=True):
            (self.folder / name).write_text(MARK + text)
        if self.accounting:
            slurm_database.write(self.folder, MARK)
        (self.folder / "state").mkdir()
        key = self.folder / "munge.key"
        key.touch(mode=0o400)
        key.write_bytes(secrets.token_bytes(128))

    def start(self) -> None:
        """Returns when every node is idle."""
        CONFIGURATION.mkdir(exist_ok=True)
        for name in LINKS:
            (CONFIGURATION / name).unlink(missing_ok=True)
            if (self.folder / name).exists():
                (CONFIGURATION / name).symlink_to(self.folder / name)
        # as root, which munged warns of: a throw-away key in a private folder
        self._spawn("munged", "--force", *(f"--{kind}={self.folder}/munge.{end}" for kind, end in MUNGE))
        self._wait(lambda: (self.folder / "munge.socket").exists(), "munged")
        if self.accounting:
            slurm_database.start(self.folder)
        self._spawn("slurmctld")
        self._wait(lambda: "is UP" in _said("scontrol", "ping"), "slurmctld")
        if self.accounting:
            self._wait(lambda: CLUSTER in _said("sacctmgr", "--noheader", "list", "cluster"), "slurmdbd")
            slurm_database.add_account()
        for node in NODES:
            self.start_node(node)
        self._wait(lambda: all(state.startswith("IDLE") for state in self.node_states().values()), "slurmd")

    def start_node(self, node: str) -> None:
        """Start a node's daemon, at first or after `kill_node`."""
        (self.folder / f"spool-{node}").mkdir(exist_ok=True)
        self._spawn("slurmd", "-N", node)
        _said("scontrol", "update", f"NodeName={node}", "State=RESUME")

    def kill_node(self, node: str) -> None:
        """The node fails: its daemon and everything that its jobs run are killed with SIGKILL."""
        daemon = _pid(self.folder / f"{node}.pid")
        assert daemon, f"{node} does not run"
        os.kill(daemon, signal.SIGKILL)
        _kill_steps(self.folder / f"{node}.log")
        (self.folder / f"{node}.pid").unlink(missing_ok=True)
        # The controller would notice by itself, after SlurmdTimeout.
        _said("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=failed")

    def stop(self) -> None:
        """Cancel every job, end the daemons by their pids, and remove every file."""
        if _pid(self.folder / "slurmctld.pid"):
            _said("scancel", "--user", "root")
            with contextlib.suppress(TimeoutError):
                self._wait(lambda: not self.queue(), "jobs", timeout_s=30)
        _stop(self.folder)
        for name in LINKS:
            if _ours(CONFIGURATION / name):
                (CONFIGURATION / name).unlink()
        shutil.rmtree(self.folder, ignore_errors=True)

    def queue(self) -> list[str]:
        """Ids of the jobs that wait, run or end."""
        return _said("squeue", "--noheader", "--format=%i").split()

    def jobs(self) -> dict[str, dict[str, str]]:
        """Job id → what `scontrol show job` tells of it, finished ones too."""
        return {job["JobId"]: job for job in map(_fields, _said("scontrol", "show", "job", "-o").splitlines()) if job}

    def node_states(self) -> dict[str, str]:
        """Node → its state, such as IDLE or DOWN*."""
        nodes = [_fields(line) for line in _said("scontrol", "show", "node", "-o").splitlines()]
        return {node["NodeName"]: node["State"] for node in nodes if "NodeName" in node}

    def _spawn(self, name: str, *arguments: str) -> None:
        done = subprocess.run([str(program(name)), *arguments], capture_output=True, text=True)
        assert done.returncode == 0, f"{name}: {done.stderr}"

    def _wait(self, done: Callable[[], bool], what: str, timeout_s: int = TIMEOUT_S) -> None:
        end = time.monotonic() + timeout_s
        while not done():
            if time.monotonic() > end:
                logs = "\n".join(path.read_text()[-3000:] for path in sorted(self.folder.glob("*.log")))
                raise TimeoutError(f"{what}: not ready after {timeout_s} s\n{logs}")
            time.sleep(0.1)


def ask(*command: str, env: Mapping[str, str] | None = None) -> str:
    """What a command of Slurm prints; it must go well."""
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout.strip()


def until(done: Callable[[], bool], what: str | Callable[[], str], timeout_s: float = PATIENCE_S) -> None:
    """Return when `done()`; `what` says, or computes, what is wrong if it takes too long."""
    end = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < end, what if isinstance(what, str) else what()
        time.sleep(0.3)


def profile_options(folder: Path, *, accounting: bool = False) -> list[str]:
    """The Slurm profile as in the documentation, and a site like two-partitions.yaml."""
    site = yaml.safe_load((REPOSITORY / "slurm/two-partitions.yaml").read_text())
    if not accounting:
        del site["default-resources"]["slurm_account"]  # Slurm refuses accounts where it has no database
    file = folder / "site.yaml"
    # jobs begin at once, so the first look at them need not be after 40 s
    file.write_text(yaml.safe_dump({**site, "slurm-init-seconds-before-status-checks": 5, "latency-wait": 10}))
    return ["--profile", str(REPOSITORY / "slurm"), "--profile", str(file)]


MUNGE = (("key-file", "key"), ("socket", "socket"), ("pid-file", "pid"), ("log-file", "log"), ("seed-file", "seed"))


def _ours(path: Path) -> bool:
    """Whether a file of /etc/slurm is a link that an earlier Slurm of this module left, whole or broken."""
    if not path.is_symlink():
        return False
    return not path.exists() or path.read_text().startswith(MARK)


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout


def _fields(line: str) -> dict[str, str]:
    """`scontrol -o`: Key=value pairs, separated by spaces; a value may hold spaces and `=`."""
    pairs = re.findall(r"(?:^| )([A-Z][\w:/]*)=(.*?)(?=(?: [A-Z][\w:/]*=)|$)", line.strip())
    return {key: value.strip() for key, value in pairs}


def _pid(file: Path) -> int | None:
    """The process of a pid file, if it is alive."""
    with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError):
        pid = int(file.read_text())
        os.kill(pid, 0)
        return pid
    return None


def _kill_steps(log: Path) -> None:
    """Kill the processes of a node's jobs; their parents are the `slurmstepd` that write to the node's log."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.name().startswith("slurmstepd") and str(log) in [file.path for file in process.open_files()]:
                for one in [process, *process.children(recursive=True)]:
                    with contextlib.suppress(psutil.Error):
                        one.kill()


def _stop(folder: Path) -> None:
    """End the daemons of a Slurm whose files are in `folder`."""
    pids = [pid for file in sorted(folder.glob("*.pid")) if (pid := _pid(file))]
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + TIMEOUT_S
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < end:
        time.sleep(0.05)
    for node in NODES:
        _kill_steps(folder / f"{node}.log")


def _stop_leftovers() -> None:
    """A Slurm whose process was killed: the lock is free, but its daemons run."""
    path = CONFIGURATION / "slurm.conf"
    if path.is_symlink() and path.exists() and _ours(path):
        folder = path.resolve().parent
        _stop(folder)
        shutil.rmtree(folder, ignore_errors=True)


def main(command: list[str]) -> int:
    """Run the command while Slurm is up; its exit code."""
    if reason := missing():
        sys.exit(f"no Slurm: {reason}")
    with running() as slurm:
        print(f"Slurm is up: {json.dumps(slurm.node_states())}, proctrack/{slurm.proctrack}", file=sys.stderr)
        return subprocess.run(command).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
