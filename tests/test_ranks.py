"""One run in several processes of torchrun ends with the bits of one process, whatever becomes of them on the way."""

import json
import multiprocessing
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from conftest import ROOT, TINY, begin, call, end, forks, only
from forks import Fork
from hypothesis import given
from hypothesis import strategies as st
from test_resume import RECIPE, assert_alike
from torch import nn

from sasa.errors import InputError, RankLost
from sasa.train import ranks
from sasa.train.exact import ExactSum

SHARED = (
    "train.batch=48",
    "train.micro_batch=8",
    "train.epochs=3",
    "data.workers=1",
)  # 6 micro-batches a step, 2 steps an epoch
FORKED = ("--run-path", "--start-method=fork")  # forks of torchrun, itself one of another, need not load PyTorch
DETECTION = (
    "table2=conv_full", "backbone=resnet26", "scale.width=0.125", "data.size=64", "data.train_images=24",
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


def meet(error: Exception | None) -> None:
    if error:
        raise error
    ranks.agree()


def as_rank(number: int, meeting: Path, answers: Any) -> None:
    """What one of two ranks learns of the other."""
    store = dist.FileStore(str(meeting), 2)
    dist.init_process_group("gloo", store=store, rank=number, world_size=2)
    numbers = torch.full((3,), number + 1.0)
    ranks.sum_of_all(numbers)
    found: dict[str, Any] = {
        "counts and news": ranks.agree(number + 1, 10, news=number and "news"),
        "gathered": ranks.gather(number),
        "in turn": ranks.in_turn([f"{number}, {place}" for place in range(2 - number)]),
        "from the first": ranks.from_first(number),
        "rows": ranks.rows_of_all(torch.full((1, 2), number)).tolist(),
        "sum": numbers.tolist(),
    }
    with pytest.raises(InputError, match=r"2 ranks cannot share the 3 micro-batches of a step .* start 1 or 3 of them"):
        ranks.check_share(3, "train.batch=3")
    own = ValueError(f"of rank {number}")
    for failing in ((1,), (0, 1)):
        with pytest.raises(ValueError, match=f"of rank {failing[0]}") as caught, ranks.one_for_all():
            meet(own if number in failing else None)
        assert (caught.value is own) == (number == failing[0])
        found[f"where {failing} failed"] = [note.split(",")[0] for note in getattr(caught.value, "__notes__", [])]
    if number == 0:  # the other one ends
        with pytest.raises(RankLost, match="another rank has ended without a word"):
            ranks.agree()
        assert ranks.size() == 1  # the connections are closed
    answers.put((number, found))


def test_what_one_of_two_ranks_learns_of_the_other(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    answers = fork.SimpleQueue()
    processes = [
        fork.Process(target=as_rank, args=(number, tmp_path / "meeting", answers), daemon=True) for number in (0, 1)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    found = dict(answers.get() for _ in processes)
    both = {
        "counts and news": ([3, 20], ["news"]),
        "gathered": [0, 1],
        "in turn": ["0, 0", "1, 0", "0, 1"],
        "from the first": 0,
        "rows": [[0, 0], [1, 1]],
        "sum": [3.0, 3.0, 3.0],
        "where (0, 1) failed": [],
    }
    assert found == {number: both | {"where (1,) failed": [] if number else ["on rank 1"]} for number in (0, 1)}


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
    # torchrun names the rank that it finds ended first: the killed one, or the other, which misses it.
    assert "exitcode: -9" in killed.err or "RankLost: another rank has ended" in killed.err
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
    for count in (1, 2):
        output = tmp_path / str(count)
        ended = end(torchrun(count, *words, f"output={output}", options=()))
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
