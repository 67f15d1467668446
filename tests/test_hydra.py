"""Hydra's own parts as its users know them: shell completion, help, sweepers; and its words in ours."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, TINY, call, environment

COMPLETE = """
eval "$(python run.py -sc install=bash)"
ask() {
    COMP_LINE="$1"; COMP_WORDS=($1); COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
    hydra_bash_completion; echo "${COMPREPLY[@]}"
}
ask "python run.py table3=attention1"
ask "python run.py tab"
"""


def test_bash_completes_rows_and_tables() -> None:
    variables = environment(PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    done = subprocess.run(["bash", "-c", COMPLETE], cwd=ROOT, env=variables, capture_output=True, text=True)
    rows, tables = done.stdout.splitlines()
    assert rows.split() == ["table3=attention1", "table3=attention12", "table3=attention123"], done.stderr
    assert tables.split() == [f"table{number}=" for number in range(1, 8)]


def test_the_help_of_a_row_shows_it() -> None:
    ended = call("table3=conv1", "--help")
    assert ended.code == 0, ended.text
    assert "override /layers: conv1" in ended.out
    assert "python run.py" in ended.out


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
    ],
)
def test_hydras_words_are_told_in_ours(word: str, expected: str) -> None:
    ended = call(word)
    assert (ended.code, ended.out) == (2, "")
    assert expected in " ".join(ended.err.split())


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
    assert ended.code == (1 if "train.lr=1e+30" in ended.err else 0)
