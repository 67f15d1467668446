"""Hydra's own parts as its users know them: shell completion, help, sweepers; and its words in ours."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, TINY, call, environment

from sasa.config import groups, options
from sasa.config.overrides import check_field

COMPLETE = """
eval "$(python run.py -sc install=bash)"
ask() {
    COMP_LINE="$1"; COMP_WORDS=($1); COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
    hydra_bash_completion; echo "${COMPREPLY[@]}"
}
ask "python run.py table3=attention1"
ask "python run.py --config-dir $0 tab"
"""


def shell(**extra: str) -> dict[str, str]:
    """A shell's environment in which `python` is this one."""
    return environment(PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}", **extra)


def read_until(terminal: int, expected: str) -> str:
    """What a terminal shows, as soon as that has come."""
    text, end = "", time.monotonic() + 200
    while expected not in text and time.monotonic() < end:
        if select.select([terminal], [], [], 1)[0]:
            text += os.read(terminal, 4096).decode(errors="replace")
    return text


def test_bash_completes_rows_and_tables_and_ones_own(tmp_path: Path) -> None:
    (tmp_path / "tableau").mkdir()
    (tmp_path / "tableau" / "row.yaml").touch()
    done = subprocess.run(
        ["bash", "-c", COMPLETE, str(tmp_path)], cwd=ROOT, env=shell(), capture_output=True, text=True
    )
    rows, tables = done.stdout.splitlines()
    assert rows.split() == ["table3=attention1", "table3=attention12", "table3=attention123"], done.stderr
    assert tables.split() == [*(f"table{number}=" for number in range(1, 8)), "tableau="]


@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed")
def test_fish_completes_rows() -> None:
    script = 'python run.py -sc install=fish | source; complete -C "python run.py table3=attention1"'
    done = subprocess.run(["fish", "--private", "-c", script], cwd=ROOT, env=shell(), capture_output=True, text=True)
    assert done.stdout.split() == ["table3=attention1", "table3=attention12", "table3=attention123"], done.stderr


@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not installed")
def test_zsh_completes_rows(tmp_path: Path) -> None:
    """At a terminal: zsh completes nowhere else. Where one row is left, the Tab key writes its name."""
    (tmp_path / ".zshrc").write_text(
        'autoload -Uz compinit bashcompinit && compinit -u && bashcompinit\neval "$(python run.py -sc install=zsh)"\n'
    )
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        ["zsh", "-d", "-i"], cwd=ROOT, env=shell(ZDOTDIR=str(tmp_path), PS1="ready> "), stdin=follower, stdout=follower,
        stderr=follower, start_new_session=True,
    )  # fmt: skip
    try:
        read_until(leader, "ready> ")
        os.write(leader, b"python run.py table5=abs\t")
        assert "olute" in read_until(leader, "olute")
    finally:
        process.kill()
        process.wait()


def test_the_help_of_a_row_is_that_row() -> None:
    ended = call("table3=conv1", "--help")
    assert ended.code == 0, ended.text
    for expected in (
        "which layer groups use convolution",
        "published: top-1 80.7 %, 7.3 GFLOPs",
        "override /layers: conv1",
        "layers.groups=[convolution,attention,attention,attention]",
        "python run.py table3=conv1 --cfg job",
    ):
        assert expected in ended.out
    assert "Groups" not in ended.out


def test_help_tells_what_each_group_means_and_its_fields_are_there() -> None:
    ended = call("--help")
    assert ended.code == 0, ended.text
    lines = ended.out.splitlines()
    assert max(map(len, lines)) <= 100  # of the terminal
    for group in groups():
        (line,) = [line for line in lines if line.startswith(f"{group} ")]
        assert len(line.split()) > 2, f"{group} is not explained"
        assert all(option in ended.out for option in options(group))
    for key in re.findall(r"[a-z_]+\.[a-z_]+(?==)", ended.out.partition("Those set most")[2]):
        check_field(key)


def test_a_rerun_of_what_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "junk").write_text("junk")
    for name, expected in (("none", "cannot be read"), ("junk", "cannot be read")):
        ended = call("--experimental-rerun", str(tmp_path / name))
        assert (ended.code, ended.out) == (2, "")
        assert expected in " ".join(ended.err.split())
        assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("seed=null", "seed=null: a value is needed here"),
        (
            "layers.groups=attention",
            "layers.groups=attention: expected a list, such as layers.groups=[attention,attention]",
        ),
        ("train.epochs=ten", "train.epochs=ten: expected a whole number"),
        ("train.amp=perhaps", "train.amp=perhaps: expected true or false"),
        ("attention.heads={a:1}", "attention.heads={a:1}: expected a whole number"),
        ("backbone.weights=[1]", "backbone.weights=[1]: expected one word"),
        ("device=[cpu]", "device=[cpu]: expected one word"),
        ("data.mean={a:1}", "data.mean={a:1}: expected a list"),
        ("--resolve", "--resolve is of what --cfg or --help shows"),
    ],
)
def test_hydras_words_are_told_in_ours(word: str, expected: str) -> None:
    ended = call(word)
    assert (ended.code, ended.out) == (2, "")
    assert expected in " ".join(ended.err.split())


def test_a_field_that_is_taken_out_is_asked_for() -> None:
    ended = call("~seed")
    assert (ended.code, ended.out) == (1, "")
    assert "failed  run: seed: a value is needed here" in ended.err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["train.lr=interval(0.01,0.1)"], "an interval needs hydra/sweeper=optuna"),
        (
            ["train.lr=interval(0.01,0.1)", "hydra/sweeper=optuna", "hydra/launcher=slurm"],
            "leave out either",
        ),
        (
            ["seed=0,1", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=abc"],
            "n_trials=abc: expected a whole number above 0",
        ),
    ],
)
def test_a_search_that_cannot_be_is_refused(words: list[str], expected: str) -> None:
    ended = call("-m", *words)
    assert (ended.code, ended.out, len(ended.err.splitlines())) == (2, "", 1), ended.text
    assert expected in ended.err


@pytest.mark.slow
def test_optuna_looks_for_the_best_result_and_leaves_out_a_trial_that_fails(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    ended = call(
        "-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "hydra.sweeper.sampler.seed=1",
        "train.lr=choice(0.001,1e30)", *TINY, "train.optimizer=sgd", f"output={tmp_path}",
    )  # fmt: skip
    assert "best of 3: " in ended.out, ended.text
    assert "with train.lr=0.001" in ended.out
    assert "Traceback" not in ended.text
    assert ended.code == 1  # the sampler draws 1e30, too
    assert re.search(r"failed  .*train\.lr=1e\+30.*: the \w+ (is|are) ", ended.err), ended.err
