"""One run in several processes of torchrun ends with the bits of one process, whatever becomes of them on the way."""

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from conftest import ROOT, TINY, call, end, environment, only
from hypothesis import given
from hypothesis import strategies as st
from test_resume import RECIPE, assert_alike

from sasa.train.tree import TreeSum

SHARED = (
    "train.batch=32",
    "train.micro_batch=8",
    "train.epochs=3",
    "data.workers=1",
)  # 4 micro-batches a step, 4 steps an epoch
DETECTION = (
    "table2=conv_full", "backbone=resnet26", "scale.width=0.125", "data.size=64", "data.train_images=40",
    "data.test_images=14", "train.epochs=2", "train.batch=8", "train.micro_batch=2", "train.log_steps=2",
    "train.warmup_epochs=0", "data.workers=0", "tracker=none",
)  # fmt: skip


def tree(terms: list[torch.Tensor]) -> torch.Tensor:
    total = TreeSum(len(terms))
    for term in terms:
        total.add([term.clone()])
    return total.total()[0]


@given(slices=st.integers(0, 4), each=st.integers(1, 12), seed=st.integers(0, 2**32))
def test_a_tree_of_slices_has_the_bits_of_the_whole_one(slices: int, each: int, seed: int) -> None:
    """As many terms in 1, 2, 4, 8 or 16 equal slices; and they are what float64 makes of them, to rounding."""
    ranks = 2**slices
    generator = torch.Generator().manual_seed(seed)
    terms = list(torch.randn(ranks * each, 50, generator=generator) * 10 ** torch.randn(50, generator=generator))
    parts = [tree(terms[start : start + each]) for start in range(0, len(terms), each)]
    assert torch.equal(tree(parts), tree(terms))
    exact = torch.stack(terms).double().sum(0)
    size = torch.stack(terms).double().abs().sum(0)
    assert ((tree(terms) - exact).abs() <= 2**-23 * 12 * size).all()


@given(count=st.integers(1, 200))
def test_a_tree_holds_few_of_its_terms_at_once(count: int) -> None:
    total, most = TreeSum(count), 0
    for _ in range(count):
        total.add([torch.ones(1)])
        most = max(most, len(total.parts))
    assert total.total()[0].item() == count
    assert most <= count.bit_length()


def torchrun(ranks: int, *overrides: str, options: tuple[str, ...] = (), **extra: str) -> subprocess.Popen[str]:
    """`torchrun --nproc-per-node=RANKS run.py` in the background; where a rank is to send itself a signal, signalled.py."""
    program = ROOT / ("tests/signalled.py" if "SIGNALLED_RANK" in extra else "run.py")
    words = ["-m", "torch.distributed.run", f"--nproc-per-node={ranks}", *options, str(program), *overrides]
    variables = environment(PYTHONPATH=str(ROOT), **extra)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, *words], cwd=ROOT, env=variables, text=True, **pipes)


def mentioning(word: str) -> list[int]:
    """The processes whose command lines hold a word."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if word.encode() in (path / "cmdline").read_bytes():
                found.append(int(path.name))
    return found


@pytest.mark.slow
def test_stopped_and_killed_on_4_2_and_1_ranks_a_run_ends_with_the_bits_of_one_process(
    pictures: Path, tmp_path: Path
) -> None:
    """With mixing, averages, a broken image and accumulation (RECIPE of test_resume)."""
    recipe = [*RECIPE, *SHARED, f"data.root={pictures}"]
    whole, output = tmp_path / "whole", tmp_path / "other"
    ended = call(*recipe, f"output={whole}")
    assert ended.code == 0, ended.text
    assert json.loads(only(whole).read_text())["skipped_images"] == 1

    stopped = end(torchrun(4, "SIGTERM", "train_step", "6", *recipe, f"output={output}", SIGNALLED_RANK="3"))
    assert not mentioning(str(output))
    assert stopped.code == 1, stopped.text  # torchrun's own
    assert stopped.text.count("Stopped. The same command goes on from the last checkpoint") == 1
    assert "Traceback" not in stopped.out
    assert json.loads(only(output).read_text())["status"] == "interrupted"

    words = ("SIGKILL", "train_step", "3", *recipe, "train.checkpoint_minutes=0", f"output={output}")
    killed = end(torchrun(2, *words, options=("--max-restarts=1",), SIGNALLED_RANK="1"))
    assert not mentioning(str(output))
    assert killed.code == 0, killed.text
    assert killed.out.count("going on from step") == 2
    assert "exitcode: -9" in killed.err  # said by torchrun, who may end the other one before it misses it
    assert_alike(only(output).parent, only(whole).parent)
    assert call(*recipe, f"output={output}").out.count("is finished already") == 1


@pytest.mark.slow
def test_a_detector_is_trained_and_evaluated_by_2_ranks_as_by_one_and_errors_are_told_once(tmp_path: Path) -> None:
    """Rows of a sweep go one after the other: one that ranks cannot share, and one that they can."""
    whole, output = tmp_path / "whole", tmp_path / "other"
    alone = call(*DETECTION, f"output={whole}")
    assert alone.code == 0, alone.text
    words = [word for word in DETECTION if "micro_batch" not in word]
    ended = end(torchrun(2, "-m", *words, "train.micro_batch=8,2", f"output={output}"))
    assert ended.code == 1
    assert ended.text.count("2 ranks cannot share the 1 micro-batches of a step") == 2  # at once, and at the end
    finished = only(output, "**/weights.safetensors").parent
    assert_alike(finished, only(whole).parent)
    for name in ("weights.safetensors", "by_class.csv"):
        assert (finished / name).read_bytes() == (only(whole).parent / name).read_bytes()
    assert not list(output.glob("**/.*.tmp"))


@pytest.mark.slow
def test_a_signal_to_one_rank_in_the_final_evaluation_stops_all(tmp_path: Path) -> None:
    words = ["table5=none", *TINY, "train.batch=48", "train.micro_batch=8", f"output={tmp_path}"]
    third = (
        "SIGTERM",
        "evaluate",
        "3",
    )  # after those of the trained and of the averaged weights on the held-out images
    ended = end(torchrun(2, *third, *words, SIGNALLED_RANK="1"))
    assert ended.text.count("Stopped. The same command goes on from the last checkpoint") == 1, ended.text
    assert json.loads(only(tmp_path).read_text())["status"] == "interrupted"
    assert ended.text.count("will have no effect") == 1  # of the schedule of one step, by timm
    assert call(*words).code == 0


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="two GPUs")
def test_two_gpus_train_what_one_does_to_rounding(tmp_path: Path) -> None:
    words = ["table5=relative", *TINY, "train.micro_batch=8", "train.amp=false", "device=cuda"]
    losses = []
    for ranks in (1, 2):
        output = tmp_path / str(ranks)
        ended = end(torchrun(ranks, *words, f"output={output}"))
        assert ended.code == 0, ended.text
        lines = map(json.loads, only(output, "**/metrics.jsonl").read_text().splitlines())
        losses.append([line["loss"] for line in lines if line["split"] == "train"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


@pytest.mark.slow
def test_what_ranks_cannot_do_is_told_in_one_line_which_torchrun_repeats_at_its_end() -> None:
    ended = end(torchrun(2, "-m", "table5=none,absolute", "hydra/launcher=joblib"))
    message = "error  hydra/launcher=joblib starts processes of its own, and torchrun has started 2: leave out either"
    assert ended.code == 1
    assert ended.err.splitlines()[0] == message
    assert ended.err.splitlines()[-2].endswith(message)
    assert ended.err.count("Traceback") == 1  # torchrun's own
