"""A finished run evaluated again, by the command line: on the same images, at another size, and what is refused."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Ended, environment, only


def evaluate(*words: str) -> Ended:
    done = subprocess.run(
        [sys.executable, "-m", "sasa.evaluate", *words], cwd=ROOT, env=environment(), capture_output=True, text=True
    )
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.mark.slow
def test_a_run_on_its_own_images_and_on_others(trained: tuple[Path, Ended], tmp_path: Path) -> None:
    output = shutil.copytree(trained[0], tmp_path / "out")
    folder = only(output).parent
    first = json.loads((folder / "result.json").read_text())["accuracy"]["test"]
    for run, *words in (["table1/conv_stem_26", "data.size=48"], [str(folder)]):
        ended = evaluate(run, *words, f"--output={output}")
        assert ended.code == 0, ended.text
    larger, same = json.loads((folder / "evaluations.json").read_text()).values()
    assert same["accuracy"] == pytest.approx(first)
    assert (same["data"]["size"], larger["data"]["size"]) == (32, 48)
    assert larger["accuracy"]["loss"] != same["accuracy"]["loss"]
    assert f"top1 {first['top1']:.2f}" in ended.out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["table1/none"], "table1/none: there is no such file and no run"),
        (["RUN", "train.lr=1"], "train.lr=1: only data and its fields can be given"),
        (["RUN", "data.sise=3"], "data has no field sise. Did you mean size"),
        (["RUN", "data=folder"], "data.root=null"),
    ],
)
def test_what_is_refused(trained: tuple[Path, Ended], words: list[str], expected: str) -> None:
    ended = evaluate(*[word.replace("RUN", "table1/conv_stem_26") for word in words], f"--output={trained[0]}")
    assert ended.code == 2
    assert "Traceback" not in ended.text
    assert expected in ended.err
