"""Signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from amorlip.training import signals


@pytest.mark.parametrize("number", signals.SIGNALS)
def test_a_signal_only_leaves_a_note(number):
    before = signal.getsignal(number)
    with signals.listening() as request:
        assert request.reason is None
        os.kill(os.getpid(), number)
        assert request.reason == signal.Signals(number).name
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
        assert request.reason == "SIGTERM"


LEAVE_A_CHILD = """
import multiprocessing, time
from amorlip.training import signals
with signals.kept_from_children():
    multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,), daemon=True).start()
"""


def test_children_do_not_keep_the_process_from_ending():
    assert subprocess.run([sys.executable, "-c", LEAVE_A_CHILD], timeout=20).returncode == 0


def test_interruption_has_an_exit_code_of_its_own():
    assert signals.Interrupted().code == 75
