"""One run in several processes of torchrun ends with the bits of one process, whatever becomes of them on the way."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from conftest import ROOT, TINY, begin, call, end, forks, only
from forks import Fork
from hypothesis import given
from hypothesis import strategies as st
from test_resume import RECIPE, assert_alike
from torch import nn

from sasa.train.exact import ExactSum

SHARED = (
    "train.batch=48",
    "train.micro_batch=8",
    "train.epochs=3",
    "data.workers=1",
)  # 6 micro-batches a step, 2 steps an epoch
FORKED = ("--run-path", "--start-method=fork")  # forks of torchrun, itself one of another, need not load PyTorch
DETECTION = (
    "table2=conv_full", "backbone=resnet26", "scale.width=0.125", "data.size=64", "data.train_images=40",
    "data.test_images=14", "train.epochs=2", "train.batch=8", "train.micro_batch=2", "train.log_steps=2",
    "train.warmup_epochs=0", "data.workers=0", "tracker=none",
)  # fmt: skip


@given(count=st.integers(1, 40), ranks=st.integers(1, 8), seed=st.integers(0, 2**32))
def test_a_sum_has_the_same_bits_however_it_is_shared_out_and_is_what_float64_makes_of_it(
    count: int, ranks: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    terms = torch.randn(count, 7, 5, generator=generator) * 10 ** torch.empty(count, 7, 5).uniform_(
        -12, 3, generator=generator
    )
    alone, *others = sums = [ExactSum([torch.empty(5, 7).T]) for _ in range(1 + ranks)]
    for number, term in enumerate(terms):
        alone.add(0, term)
        others[number % ranks].add(0, term)
    together = sums[-1]
    for other in others[:-1]:
        together.units += other.units
    assert torch.equal(together.units, alone.units)
    (mean,) = alone.means(count)
    torch.testing.assert_close(mean, terms.double().mean(0).float(), rtol=2**-22, atol=1e-12)
    assert not alone.units.any()


def test_gradients_are_added_where_they_are_made_and_kept_once_in_float64() -> None:
    """So a step of any number of micro-batches holds one more copy of the weights than one of a single one does."""
    network = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    parameters = list(network.parameters())
    images = torch.randn(5, 8, 4)
    network(images).sum().backward()
    expected = [value.grad for value in parameters]
    network.zero_grad()
    total = ExactSum(parameters)
    total.take_gradients(parameters)
    for some in images:
        network(some).sum().backward()
        assert all(value.grad is None for value in parameters)
    assert total.units.nbytes == 2 * sum(value.nbytes for value in parameters)
    torch.testing.assert_close(total.means(1), expected)


def torchrun(ranks: int, *overrides: str, options: tuple[str, ...] = FORKED, **extra: str) -> Fork:
    """`torchrun --nproc-per-node=RANKS run.py` in the background; where a rank is to send itself a signal, signalled.py."""
    program = ROOT / ("tests/signalled.py" if "SIGNALLED_RANK" in extra else "run.py")
    words = ["-m", "torch.distributed.run", f"--nproc-per-node={ranks}", *options, str(program), *overrides]
    return begin(words, ROOT, fresh=False, **extra)


def running() -> set[int]:
    """The processes of the session in which all forks are, but for those that have ended."""
    assert forks.server is not None
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, _, _, session = (path / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(session) == forks.server.pid and state != "Z":
                found.add(int(path.name))
    return found


@pytest.mark.slow
def test_stopped_and_killed_on_3_2_and_1_ranks_a_run_ends_with_the_bits_of_one_process(
    pictures: Path, tmp_path: Path
) -> None:
    """With mixing, averages, a broken image and accumulation (RECIPE of test_resume)."""
    recipe = [*RECIPE, *SHARED, f"data.root={pictures}"]
    whole, output = tmp_path / "whole", tmp_path / "other"
    ended = call(*recipe, f"output={whole}")
    assert ended.code == 0, ended.text
    assert json.loads(only(whole).read_text())["skipped_images"] == 1

    before = running()
    stopped = end(torchrun(3, "SIGTERM", "train_step", "3", *recipe, f"output={output}", SIGNALLED_RANK="2"))
    assert running() <= before
    assert stopped.code == 1, stopped.text  # torchrun's own
    assert stopped.text.count("Stopped. The same command goes on from the last checkpoint") == 1
    assert "Traceback" not in stopped.out
    assert json.loads(only(output).read_text())["status"] == "interrupted"

    words = ("SIGKILL", "train_step", "2", *recipe, "train.checkpoint_minutes=0", f"output={output}")
    killed = end(torchrun(2, *words, options=(*FORKED, "--max-restarts=1"), SIGNALLED_RANK="1"))
    assert running() <= before
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
        ended = end(torchrun(ranks, *words, f"output={output}", options=()))
        assert ended.code == 0, ended.text
        lines = map(json.loads, only(output, "**/metrics.jsonl").read_text().splitlines())
        losses.append([line["loss"] for line in lines if line["split"] == "train"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


@pytest.mark.slow
def test_what_ranks_cannot_do_is_told_in_one_line_which_torchrun_repeats_at_its_end() -> None:
    ended = end(torchrun(2, "-m", "table5=none,absolute", "hydra/launcher=joblib", options=()))
    message = "error  hydra/launcher=joblib starts processes of its own, and torchrun has started 2: leave out either"
    assert ended.code == 1
    assert ended.err.splitlines()[0] == message
    assert ended.err.splitlines()[-2].endswith(message)
    assert ended.err.count("Traceback") == 1  # torchrun's own
