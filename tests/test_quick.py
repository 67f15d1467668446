"""A quick end is an end like any other."""

import gc
import os
import subprocess
import sys
from contextlib import suppress

from conftest import ROOT

from sasa import quick


def test_garbage_waits_for_imports_and_is_collected_as_before() -> None:
    for works in (False, True):
        (gc.enable if works else gc.disable)()
        with suppress(ImportError), quick.imports():
            assert not gc.isenabled()
            raise ImportError
        assert gc.isenabled() == works


def test_threads_atexit_and_output_are_waited_for() -> None:
    code = (
        "import atexit, threading, time; from sasa import quick; atexit.register(print, 'atexit', end='');"
        "threading.Thread(target=lambda: (time.sleep(0.3), print('thread'))).start(); quick.leave(3)"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "thread\natexit", "")


def test_output_that_is_lost_is_told() -> None:
    code = "from sasa import quick; print('lost'); quick.leave(0)"
    variables = {**os.environ, "PYTHONUNBUFFERED": ""}
    with open("/dev/full", "w") as full:
        words = [sys.executable, "-c", code]
        ended = subprocess.run(words, cwd=ROOT, env=variables, stdout=full, stderr=subprocess.PIPE, check=False)
    assert ended.returncode == 120  # Python's own
    assert b"No space left on device" in ended.stderr


def test_a_program_that_runs_another_s_goes_on() -> None:
    """As profilers, debuggers and notebooks do, and torchrun --run-path."""
    code = (
        "import runpy, sys\nsys.argv = ['run.py', 'nonsense=1']\n"
        "try: runpy.run_path('run.py', run_name='__main__')\nexcept SystemExit as stop: print('status', stop.code)"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "status 2\n")
