"""The lock on a folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from amorlip.common import files
from amorlip.common.errors import AmorlipError

HOLD = """
import os, sys, time
from pathlib import Path
from amorlip.common import files
with files.locked(Path(sys.argv[1])):
    if os.fork() == 0:
        time.sleep(30)
    print("held", flush=True)
    time.sleep(30)
"""


def test_lock_keeps_a_second_process_out_and_dies_with_its_holder(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(AmorlipError, match="another process is writing to this folder"),
            files.locked(tmp_path),
        ):
            pass
        # its child lives on, as the loader's processes do for some seconds
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        deadline = time.monotonic() + 5
        while True:
            try:
                with files.locked(tmp_path):
                    break
            except AmorlipError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
    finally:
        os.killpg(holder.pid, signal.SIGKILL)
        holder.stdout.close()
