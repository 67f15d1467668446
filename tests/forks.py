"""Programs that start at once: forks of a process that has loaded what takes seconds to load, and has read conf/ once.

They are processes like any other, with their own signals, files and exit status; only the interpreter is not a new one.
"""

import gc
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import NoReturn

from sasa import quick

ROOT = Path(__file__).resolve().parents[1]
LOADED = ("sasa.command", "sasa.train.session", "sasa.report.results", "sasa.report.own", "hydra.main", "timm.optim")


@dataclass
class Fork:
    """A program that runs; what there is of subprocess.Popen."""

    args: Sequence[str]
    pid: int
    folder: Path
    returncode: int | None = None

    def poll(self) -> int | None:
        """The exit status; None while it runs."""
        code = self.folder / "code"
        if self.returncode is None and code.exists():
            self.returncode = int(code.read_text())
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, when it has ended; TimeoutExpired where it takes longer."""
        last = time.monotonic() + (timeout or float("inf"))
        while self.poll() is None:
            if time.monotonic() > last:
                raise subprocess.TimeoutExpired(list(self.args), timeout or 0, *self._written())
            time.sleep(0.01)
        assert self.returncode is not None
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it wrote to stdout and stderr, when it has ended."""
        self.wait(timeout)
        return self._written()

    @property
    def out(self) -> str:
        """What it has written to stdout so far."""
        return (self.folder / "out").read_text()

    def _written(self) -> tuple[str, str]:
        return self.out, (self.folder / "err").read_text()

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Forks:
    """The process that forks, from the first program on until close."""

    def __init__(self) -> None:
        self.server: subprocess.Popen[str] | None = None

    def start(self, words: Sequence[str], cwd: Path, variables: Mapping[str, str]) -> Fork:
        """Begin what `python WORDS` does, where they are a file, or -m and a module, and arguments."""
        if self.server is None:
            self.files = tempfile.TemporaryDirectory(prefix="forks")
            self.server = subprocess.Popen(
                [sys.executable, __file__], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, start_new_session=True,
            )  # fmt: skip
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        folder = Path(tempfile.mkdtemp(dir=self.files.name))
        for name in ("out", "err"):  # which may be read before the program has begun
            (folder / name).touch()
        asked = {"words": list(words), "cwd": str(cwd), "variables": dict(variables), "folder": str(folder)}
        self.server.stdin.write(json.dumps(asked) + "\n")
        self.server.stdin.flush()
        return Fork(words, int(self.server.stdout.readline()), folder)

    def close(self) -> None:
        """End it, when its programs have ended."""
        if self.server is not None:
            self.server.communicate()
            self.files.cleanup()


def serve() -> None:
    """Fork for each line of stdin, and write the exit status of each fork to its folder."""
    sys.modules["wandb"] = None  # type: ignore[assignment]  # timm would load it, and its folder is of the process that does
    with quick.imports():
        for module in LOADED:
            import_module(module)
    del sys.modules["wandb"]
    identity, compose = import_module("sasa.config.identity"), import_module("sasa.config.compose")
    identity.rows_like(identity.axes_of())  # each file of conf/ and experiments/
    import_module("hydra.core.plugins").Plugins.instance()  # which register what they have
    store = import_module("hydra.core.config_store").ConfigStore.instance()
    known = dict(store.repo)
    compose.register()
    compose.defaults("classification", "demo")
    store.repo = known  # or a program would not miss what it forgets to register
    gc.freeze()  # or the memory of all that is copied
    folders: dict[int, Path] = {}

    def ended(*_: int | FrameType | None) -> None:
        for pid in list(folders):
            known, status = os.waitpid(pid, os.WNOHANG)
            if known:
                folder = folders.pop(pid)
                (folder / "part").write_text(str(os.waitstatus_to_exitcode(status)))
                (folder / "part").rename(folder / "code")

    signal.signal(signal.SIGCHLD, ended)
    answers = os.dup(1)
    for line in sys.stdin:
        asked = json.loads(line)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        pid = os.fork()
        if not pid:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            os.close(answers)
            become(asked["words"], Path(asked["cwd"]), asked["variables"], Path(asked["folder"]))
        folders[pid] = Path(asked["folder"])
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        os.write(answers, f"{pid}\n".encode())
    while folders:
        time.sleep(0.01)
    quick.leave(0)


def become(words: Sequence[str], cwd: Path, variables: Mapping[str, str], folder: Path) -> NoReturn:
    """Be the program, with these files in place of stdin, stdout and stderr."""
    for number, path in enumerate((os.devnull, folder / "out", folder / "err")):
        file = os.open(path, os.O_RDWR | os.O_CREAT)
        os.dup2(file, number)
        os.close(file)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w", closefd=False), open(2, "w", 1, closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(cwd)
    sys.argv = list(words[1:] if words[0] == "-m" else words)
    code: object = 0
    try:
        if words[0] == "-m":
            sys.path[0] = str(cwd)
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.path[0] = str(Path(words[0]).parent)
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as stop:
        code = stop.code or 0
    except BaseException:
        code = 1
        sys.excepthook(*sys.exc_info())
    quick.leave(code if isinstance(code, int) else 1)


if __name__ == "__main__":
    serve()
