"""Signals and the lock."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from amorlip.errors import AmorlipError
from amorlip.training import signals

HOLD = """
import os, sys, time
from pathlib import Path
from amorlip.training import signals
with signals.locked(Path(sys.argv[1])):
    if os.fork() == 0:
        time.sleep(30)
    print("held", flush=True)
    time.sleep(30)
"""


@pytest.mark.parametrize("number", signals.SIGNALS)
def test_a_signal_only_leaves_a_note(number):
    before = signal.getsignal(number)
    with signals.listening() as request:
        assert request.signal is None
        os.kill(os.getpid(), number)
        assert request.signal == signal.Signals(number).name
    assert signal.getsignal(number) is before


def test_children_never_get_the_signals():
    with signals.listening() as request:
        with signals.kept_from_children(signal.SIGINT):
            child = os.fork()
            if child == 0:
                for number in (*signals.SIGNALS, signal.SIGINT):
                    os.kill(os.getpid(), number)
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        os.kill(os.getpid(), signal.SIGTERM)
        assert request.signal == "SIGTERM"


LEAVE_A_CHILD = """
import multiprocessing, time
from amorlip.training import signals
with signals.kept_from_children():
    multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,), daemon=True).start()
"""


def test_children_do_not_keep_the_process_from_ending():
    assert subprocess.run([sys.executable, "-c", LEAVE_A_CHILD], timeout=20).returncode == 0


def test_lock_keeps_a_second_process_out_and_dies_with_its_holder(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(AmorlipError, match="another process is training into this folder"),
            signals.locked(tmp_path),
        ):
            pass
        # its child lives on, as the loader's processes do for some seconds
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        deadline = time.monotonic() + 5
        while True:
            try:
                with signals.locked(tmp_path):
                    break
            except AmorlipError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
    finally:
        os.killpg(holder.pid, signal.SIGKILL)
        holder.stdout.close()


def test_interruption_has_an_exit_code_of_its_own():
    assert signals.Interrupted().code == 75
