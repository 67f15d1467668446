"""What macOS and Windows lack is not needed to import all of sasa and to train a run."""

import subprocess
import sys

import pytest
from conftest import ROOT, TINY, environment, only

ELSEWHERE = """
import importlib, os, pkgutil, signal, sys
import filelock, hydra, timm, torch, torchvision, wandb  # which have their own ways there
for name in ("fcntl", "grp", "pwd", "resource", "termios", "triton"):
    sys.modules[name] = None
for module, names in ((os, "fork forkpty getpgid geteuid getuid killpg mkfifo sched_getaffinity setpgid setsid sysconf uname"),
                      (signal, "SIGALRM SIGCHLD SIGHUP SIGKILL SIGQUIT SIGUSR1 SIGUSR2 pthread_kill pthread_sigmask setitimer sigwait sigwaitinfo")):
    for name in names.split():
        delattr(module, name)
import sasa
for module in pkgutil.walk_packages(sasa.__path__, "sasa."):
    try:
        if module.name.rpartition(".")[2] != "__main__":
            importlib.import_module(module.name)
    except ModuleNotFoundError as error:  # the kernels of a GPU, which nothing else loads
        assert error.name == "triton", error
from sasa.command import main
sys.argv[0] = "run.py"
sys.exit(main())
"""  # noqa: E501


@pytest.mark.slow
def test_all_of_it_is_imported_and_a_run_trains(tmp_path):
    words = [sys.executable, "-c", ELSEWHERE, "table5=relative", *TINY, "scale.width=0.0625", f"output={tmp_path}"]
    done = subprocess.run(
        words, cwd=tmp_path, env=environment(PYTHONPATH=str(ROOT)), capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    assert only(tmp_path).parent.joinpath("weights.safetensors").exists()
