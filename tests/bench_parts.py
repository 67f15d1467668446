"""Parts of a benchmark that fail in every way; test_bench_gpu.py runs them. Nothing is imported that takes long to load."""

import faulthandler
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from sasa.bench.gpu.runner import Tell


def good(tell: Tell) -> None:
    for number in (1.0, float("nan")):
        tell({"number": number})


def hangs(tell: Tell) -> None:
    tell({"number": 1})
    subprocess.run([sys.executable, "-c", "import time; time.sleep(1000)"], check=False)


def dies(tell: Tell) -> None:
    tell({"number": 1})
    os.kill(os.getpid(), signal.SIGSEGV)


def fails(tell: Tell) -> None:
    tell({"number": 1})
    raise ValueError("no such thing")


def is_cut(tell: Tell) -> None:
    """As a part that is killed while it writes a row."""
    tell({"number": 1})
    tell.args[0](b'{"number": ')  # type: ignore[attr-defined]
    os._exit(3)


def leaves_a_child(file: Path, tell: Tell) -> None:
    file.write_text(str(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"]).pid))


def says_nothing(tell: Tell) -> None:
    """As a part that hangs where it cannot end itself."""
    faulthandler.cancel_dump_traceback_later()
    time.sleep(1000)
