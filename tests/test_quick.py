"""A quick end is an end like any other."""

import gc
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import ROOT

from sasa import quick

SLOW = "class Slow:\n    def __del__(self): print('taken apart')\nslow = Slow()\n"


def ended(code: str, *options: str, shell: str = '"$@"') -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a program."""
    words = ["sh", "-c", shell, "sh", sys.executable, *options, "-c", code, "nonsense=1"]
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, input="")
    return done.returncode, done.stdout, done.stderr


def test_garbage_waits_for_imports_and_is_collected_as_before() -> None:
    try:
        for works in (False, True):
            (gc.enable if works else gc.disable)()
            with suppress(ImportError), quick.imports():
                assert not gc.isenabled()
                raise ImportError
            assert gc.isenabled() == works
    finally:
        gc.enable()


def test_threads_atexit_and_output_are_waited_for() -> None:
    code = (
        "import atexit, threading, time; from sasa import quick; atexit.register(print, 'atexit', end='');"
        "threading.Thread(target=lambda: (time.sleep(0.3), print('thread'))).start(); quick.leave(3)"
    )
    assert ended(SLOW + code) == (3, "thread\natexit", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_output_that_is_lost_is_told() -> None:
    code, _, told = ended("from sasa import quick; print('lost'); quick.leave(0)", shell='"$@" >/dev/full')
    assert code == 120  # Python's own
    assert "No space left on device" in told


@pytest.mark.parametrize("shell", ['"$@" >&-', '"$@" 2>&-', '"$@" >&- 2>&-'])
def test_where_nobody_listens_the_exit_status_is_the_same(shell: str) -> None:
    assert ended("from sasa import quick; quick.leave(3)", shell=shell)[0] == 3


def test_an_interrupt_at_the_end_changes_nothing() -> None:
    code = (
        "import signal, threading, time; from sasa import quick; from sasa.train.interrupt import listen;"
        "listen(signal.SIGINT); wait = lambda: (time.sleep(0.3), signal.raise_signal(signal.SIGINT), time.sleep(0.3));"
        "threading.Thread(target=wait).start(); quick.leave(3)"
    )
    assert ended(code) == (3, "", "")


def test_the_command_line_ends_quickly_but_where_another_program_goes_on() -> None:
    """As profilers, debuggers and notebooks do, torchrun --run-path, and python -i."""
    code = SLOW + "from sasa.command import program; program()"
    assert ended(code)[:2] == (2, "")
    assert ended(code, "-i")[1] == "taken apart\n"
    caught = f"try: exec({code!r})\nexcept SystemExit as stop: print('status', stop.code)"
    assert ended(caught)[:2] == (0, "status 2\ntaken apart\n")


def test_a_failed_run_ends_quickly_too() -> None:
    code = f"{SLOW}import sys; from sasa import command\ncommand.main = lambda waits: sys.exit(1)\ncommand.program()"
    assert ended(code)[:2] == (1, "")
