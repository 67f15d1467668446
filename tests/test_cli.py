"""What the command line promises: one clear message for bad input, nothing trained twice, and sweeps that survive a row."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from conftest import ROOT, TINY, Ended, begin, call, call_fresh, end, environment, make_images, only, start

from sasa.config.identity import SEMANTICS
from sasa.errors import Interrupted
from sasa.train.interrupt import Interrupt, listen

WIDTH = "scale.width=0.0625"  # a network of a few channels, where only what is around it matters


def refused(ended: Ended, *expected: str) -> None:
    """One message with all of this in it, on stderr, and a failure."""
    assert ended.code in (1, 2), ended.text
    assert "Traceback" not in ended.text
    assert len(ended.err.splitlines()) == 1, ended.err
    for text in expected:
        assert text in ended.err, ended.err


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("tabel3=conv", "tabel3: there is no table, group or field tabel3. Did you mean table3"),
        ("table3=convv", "table3=convv: no such row. Did you mean conv"),
        ("data=cifar11", "data=cifar11: no such option. Did you mean cifar10"),
        ("extent=7", "extent=7: no such option. Did you mean k7"),
        ("data.sise=32", "data.sise: data has no field sise. Did you mean size"),
        ("train.lr.x=1", "train.lr has no field x"),
        ("+foo=1", "foo: there is no table, group or field foo"),
        ("++train.foo=1", "train has no field foo"),
        ("attention=3", "set a field, such as attention.heads=..."),
        ("data=null", "data=null: expected one of cifar10, cifar100, "),
        ("table3=null", "table3=null: expected one of attention"),
        ("table3=[conv,conv1]", "table3=[conv,conv1]: expected one of attention"),
        ("-m table3=glob(zz*)", "table3=glob(zz*) matches nothing: table3 has attention"),
        ("-m seed=range(0,0)", "no run, for a list or range is empty"),
        ("table3=conv table4=k3", "table3=conv and table4=k3: a run is a row of one table"),
        ("seed=0,1", "asks for several runs: add -m"),
        ("table3=glob(*)", "asks for several runs: add -m"),
        ("hydra.mode=MULTIRUN", "hydra.mode=MULTIRUN: several runs are asked for by -m"),
        ("-m seed=0,1 --cfg job", "-m runs several rows, and the other option shows one thing"),
        ("seed", "seed cannot be read as name=value"),
        ("data.root=~/images", "data.root=~/images cannot be read as name=value. Quote"),
        ("seed=", "seed=: expected a whole number"),
        ("seed=-1", "seed=-1: expected a number from 0"),
        ("-m seed=0,one", "seed=one: expected a whole number"),
        ("train.epochs=1.5", "train.epochs=1.5: expected a whole number"),
        ("train.epochs=0", "train.epochs=0: expected at least 1"),
        ("train.lr=inf", "train.lr=inf: expected a learning rate above 0"),
        ("train.lr=nan", "train.lr=nan: expected a learning rate above 0"),
        ("train.micro_batch=48", "train.micro_batch=48 does not divide train.batch=64: try train.micro_batch=32"),
        ("train.warmup_epochs=9", "train.warmup_epochs=9.0 leaves nothing of train.epochs=4"),
        ("device=gpu", "device=gpu: expected one of [auto, cpu, cuda]"),
        ("extent.k=4", "extent.k=4: the spatial extent is odd and at least 1"),
        ("layers.groups=[attention]", "layers.groups has 1 entries: a ResNet has four layer groups"),
        ("layers.groups=[attention,attention,attention,lstm]", "expected one of [convolution, attention]"),
        ("backbone.depth=51", "backbone.depth=51: the paper's networks have 26, 38 or 50 layers"),
        ("backbone.width=1e-9", "backbone.width=1e-09 with scale.width=0.25 leaves no channels"),
        ("scale=coco", "data.reader=coco has boxes, and task=classification needs classes"),
        ("data.root=${nowhere}", "nowhere"),
        ("data.size=???", "data.size: Missing mandatory value: size"),
        ("~data", "data"),
        ("~detector", "detector.primitive: Missing mandatory value: primitive"),
        ("--config-name=other", "Cannot find primary config 'other'"),
        ("hydra/launcher=joblib2", "Could not find 'hydra/launcher/joblib2'"),
    ],
)
def test_a_bad_command_is_refused_in_one_line(command: str, expected: str, tmp_path: Path) -> None:
    refused(call(*command.split(), f"output={tmp_path}/out", "tracker=none"), expected)
    assert not list(tmp_path.glob("**/result.json"))


def test_the_scale_of_coco_asks_for_its_folder(tmp_path: Path) -> None:
    ended = call("table2=conv_full", "scale=coco", f"output={tmp_path}/out", "tracker=none")
    refused(ended, "data.root=null, but the images are read from a folder: set data.root")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".locks"]


@pytest.mark.slow
def test_help_and_composition_do_not_import_torch(tmp_path: Path) -> None:
    ended = call_fresh("--help", options=["-X", "importtime"])
    assert ended.code == 0
    assert max(map(len, ended.out.splitlines())) <= 100
    assert "python run.py table3=conv1" in ended.out
    assert "which layer groups use convolution" in ended.out
    imported = {line.split("|")[-1].strip() for line in ended.err.splitlines()}
    assert "hydra" in imported
    assert not imported & {"torch", "timm", "wandb", "numpy"}
    assert "torch" not in call_fresh("extent.k=4", f"output={tmp_path}", options=["-X", "importtime"]).err


def test_a_row_is_printed_and_not_trained(tmp_path: Path) -> None:
    ended = call("table4=k11", f"output={tmp_path}/out", "--cfg", "job")
    assert ended.code == 0
    assert "k: 11" in ended.out
    assert not (tmp_path / "out").exists()


def test_a_run_says_what_came_out_and_is_not_trained_again(trained: tuple[Path, Ended]) -> None:
    output, first = trained
    assert first.code == 0, first.text
    result = json.loads(only(output).read_text())
    assert (result["status"], result["table"], result["row"]) == ("finished", "table1", "conv_stem_26")
    assert f"{result['accuracy']['test']['top1']:.1f} %" in first.out
    assert {path.name for path in only(output).parent.iterdir()} == {
        "samples.png",
        "attention.png",
        "attention.json",
        "costs.json",
        "classes.json",
        "result.json",
        "metrics.jsonl",
        "config.json",
        "run.log",
        "checkpoint.pt",
        "weights.safetensors",
        "best.safetensors",
    }
    before = {path: path.stat().st_mtime_ns for path in only(output).parent.iterdir()}
    again = call_fresh("table1=conv_stem_26", *TINY[1:], f"output={output}", options=["-X", "importtime"])
    assert again.code == 0
    assert "table1=conv_stem_26 is finished already: nothing is trained" in again.out
    assert "| torch\n" not in again.err
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_the_same_network_under_another_name_is_the_same_run(trained: tuple[Path, Ended], tmp_path: Path) -> None:
    output = shutil.copytree(trained[0], tmp_path / "out")
    first = only(output).parent
    names = ["table4=k7", "backbone=resnet26", *TINY[1:], f"output={output}", "device=cpu", "data.workers=1"]
    ended = call(*names, "train.checkpoint_minutes=9")
    assert ended.code == 0, ended.text
    assert f"is the run of table1/conv_stem_26/{first.name}, which is finished: nothing is trained" in ended.out
    second = only(output, "table4/k7/*/result.json")
    result, original = json.loads(second.read_text()), json.loads((first / "result.json").read_text())
    assert result["same_as"] == f"table1/conv_stem_26/{first.name}"
    assert (result["table"], result["row"], result["key"]) == ("table4", "k7", original["key"])
    assert result["accuracy"] == original["accuracy"]
    assert (second.parent / "metrics.jsonl").read_bytes() == (first / "metrics.jsonl").read_bytes()
    assert "is finished already" in call(*names).out


@pytest.mark.slow
def test_damaged_records_of_a_finished_run_are_mended(trained: tuple[Path, Ended], tmp_path: Path) -> None:
    output = shutil.copytree(trained[0], tmp_path / "out")
    folder = only(output).parent
    whole = json.loads((folder / "result.json").read_text())
    command = ["table1=conv_stem_26", *TINY[1:], f"output={output}"]
    (folder / "config.json").unlink()
    (folder / "result.json").write_text(json.dumps({**whole, "accuracy": None}))
    (folder / ".checkpoint.pt.12345.tmp").write_bytes(b"half of one")
    ended = call(*command)
    assert ended.code == 0, ended.text
    assert "going on from step 3 of 3" in ended.out  # it is evaluated again, not trained
    assert json.loads((folder / "result.json").read_text())["accuracy"] == whole["accuracy"]
    assert (folder / "config.json").exists()
    assert not list(folder.glob(".*"))


@pytest.mark.slow
def test_records_that_are_torn_or_of_another_run_are_refused_row_by_row(
    trained: tuple[Path, Ended], tmp_path: Path
) -> None:
    output = shutil.copytree(trained[0], tmp_path / "out")
    whole = only(output).parent
    torn, config, result, checkpoint = (
        shutil.copytree(whole, str(whole).replace("seed=0", f"seed={seed}")) for seed in (1, 2, 3, 4)
    )
    for name, content in (("config.json", '{"key": "12'), ("result.json", ""), ("checkpoint.pt", "torn")):
        Path(torn, name).write_text(content)
    Path(config, "config.json").write_text(
        json.dumps({"key": "0", "semantics": SEMANTICS, "config": {"train": {"lr": 0.1}}})
    )
    Path(result, "config.json").unlink()
    for name in ("config.json", "result.json"):
        Path(checkpoint, name).unlink()
    ended = call("-m", "table1=conv_stem_26", *TINY[1:], f"output={output}", "seed=1,2,3,4")
    assert ended.code == 1
    assert "Traceback" not in ended.text
    for line, expected in zip(
        ended.err.splitlines()[-4:],
        (
            (f"failed  seed=1: {torn}/checkpoint.pt is not a checkpoint that can be read", "Remove it"),
            (f"failed  seed=2: {config} holds a run of another configuration", "train.lr: 0.1, now 0.003", "output="),
            (f"failed  seed=3: {result} holds a run of another configuration",),
            (f"failed  seed=4: {checkpoint}/checkpoint.pt is of another configuration. Remove it",),
        ),
        strict=True,
    ):
        assert all(text in line for text in expected), line
    assert json.loads(Path(torn, "result.json").read_text())["status"] == "failed"


@pytest.mark.slow
def test_data_that_does_not_fit_is_refused_row_by_row(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    disagree = make_images(tmp_path / "disagree", 2, 1, ("ant", "bee", "cat", "dog"))
    shutil.rmtree(disagree / "test" / "cat")
    three = make_images(tmp_path / "three", 2, 1, ("ant", "bee", "cat"))
    roots = [str(tmp_path / "missing"), str(tmp_path / "empty"), str(disagree), str(three), str(pictures)]
    ended = call(
        "-m",
        "data=folder",
        "data.classes=4",
        "data.root=" + ",".join(roots),
        "table3=conv",
        WIDTH,
        *(setting for setting in TINY if "images" not in setting),
        f"output={tmp_path}/out",
    )
    assert ended.code == 1
    assert "Traceback" not in ended.text
    last = ended.err.splitlines()[-5:]
    for line, root, expected in zip(
        last,
        roots,
        (
            "does not exist: set data.root",
            "is empty: set data.root",
            "train has 4 classes and test has 3; only one of them has cat",
            "data.classes=4, but",
            f"{pictures}/train/bee/7.png cannot be read as an image",
        ),
        strict=True,
    ):
        assert line.startswith(f"failed  data.root={root}: ")
        assert expected in line
    assert "set data.skip_broken=true" in last[-1]
    statuses = [json.loads(path.read_text())["status"] for path in (tmp_path / "out").glob("**/result.json")]
    assert statuses == ["failed"] * 3  # where there is no folder of images, nothing was begun


@pytest.mark.slow
def test_a_failed_row_does_not_stop_a_sweep_and_only_what_is_missing_is_trained_again(tmp_path: Path) -> None:
    command = ["-m", "train.optimizer=nesterof,nesterov", "device=cpu,cuda", WIDTH, *TINY, f"output={tmp_path}"]
    if shutil.which("nvidia-smi"):
        pytest.skip("there is a GPU")
    ended = call(*command)
    assert ended.code == 1
    assert "Traceback" not in ended.text
    assert "train.optimizer=nesterov device=cpu: top-1" in ended.out
    last = ended.err.splitlines()[-2:]
    assert last[0].startswith("failed  train.optimizer=nesterof device=cpu: train.optimizer=nesterof: timm has no such")
    assert "Did you mean nesterov" in last[0]
    assert last[1].startswith("failed  train.optimizer=nesterof device=cuda: device=cuda: torch finds no GPU")
    trained = {path: path.stat().st_mtime_ns for path in tmp_path.glob("**/checkpoint.pt")}
    assert len(trained) == 1
    again = call(*command)
    assert again.code == 1
    assert again.out.count("is finished already: nothing is trained") == 2
    assert trained == {path: path.stat().st_mtime_ns for path in tmp_path.glob("**/checkpoint.pt")}


@pytest.mark.slow
def test_a_sweep_over_a_table_prints_it(tmp_path: Path) -> None:
    ended = call("-m", "table6=glob(*)", "layers=conv123", WIDTH, *TINY, f"output={tmp_path}", cwd=tmp_path)
    assert ended.code == 0, ended.text
    table = ended.out.split("Table 6")[1]
    assert "content_position" in ended.out
    for path in tmp_path.glob("table6/*/*/result.json"):
        assert f"{json.loads(path.read_text())['accuracy']['test']['top1']:.1f}" in table
    assert sorted(path.name for path in (tmp_path / "table6").iterdir()) == ["content_position", "position"]


@pytest.mark.slow
def test_a_second_process_on_the_same_run_is_told_who_holds_it(tmp_path: Path) -> None:
    command = ["table5=none", WIDTH, *TINY, "train.epochs=1000", f"output={tmp_path}"]
    first = start(*command)
    while not list(tmp_path.glob("**/result.json")):
        assert first.poll() is None, end(first).text
        time.sleep(0.02)
    first.send_signal(signal.SIGSTOP)  # it holds the run for as long as the others take
    expected = f"is being trained by process {first.pid} on {socket.gethostname()} since 2"
    refused(call(*command), f"table5=none {expected}", "Wait for it, or stop it first")
    # the same network by another name is the same run
    refused(call("position=none", "table3=attention", *command[1:]), f"table3=attention {expected}")
    assert json.loads(only(tmp_path).read_text())["status"] == "running"
    first.send_signal(signal.SIGTERM)
    first.send_signal(signal.SIGCONT)
    ended = end(first)
    assert ended.code == 143, ended.text
    assert json.loads(only(tmp_path).read_text())["status"] == "interrupted"


# No file of this process grows beyond 20 kB; the error is that of a full disk but for its name.
SMALL_FILES = """
import resource, sys
from sasa.command import main
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
sys.exit(main())
"""


@pytest.mark.slow
def test_a_full_disk_fails_the_run_in_one_line(tmp_path: Path) -> None:
    command = [*TINY, WIDTH, f"output={tmp_path}/out"]
    (tmp_path / "small.py").write_text(SMALL_FILES)
    small = end(begin([str(tmp_path / "small.py"), *command], ROOT, fresh=False))
    refused(small, "failed  run: File too large", "run.log")
    assert json.loads(only(tmp_path).read_text())["status"] == "failed"
    assert not list(tmp_path.glob("**/.*.tmp"))

    full = tmp_path / "full"
    full.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", full], capture_output=True).returncode:
        return  # only root can make a disk that is full
    try:
        refused(call(*command[:-1], f"output={full}/out"), "failed  run: No space left on device")
        (full / "rest").write_bytes(b"0" * os.statvfs(full).f_bfree * os.statvfs(full).f_bsize)
        for mode in ([], ["-m"]):
            refused(call(*mode, *command[:-1], f"output={full}/other"), "No space left on device")
    finally:
        subprocess.run(["umount", full], check=True)


def test_an_outputs_folder_that_cannot_be_written_is_refused_before_anything_else(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for mode in ([], ["-m"]):
        refused(call(*mode, f"output={tmp_path}/file/out"), f"{tmp_path}/file/out", "Not a directory")
    shut = tmp_path / "shut"
    shut.mkdir()
    shut.chmod(0o500)
    mounted = not subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", shut], capture_output=True).returncode
    if not mounted and os.geteuid() == 0:
        return  # root may write into a folder of that mode
    try:
        for mode in ([], ["-m"]):
            refused(call(*mode, f"output={shut}/out"), f"{shut}/out")
    finally:
        if mounted:
            subprocess.run(["umount", shut], check=True)
        shut.chmod(0o700)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    import torch

    recipe = ["train.optimizer=sgd", "train.lr=1e30", "train.warmup_epochs=0", "train.checkpoint_minutes=0"]
    ended = call(*TINY, WIDTH, *recipe, f"output={tmp_path}")
    refused(
        ended, "failed  run: the loss is nan at step", "of 3: try a lower train.lr. The last good checkpoint is kept."
    )
    result = json.loads(only(tmp_path).read_text())
    assert result["status"] == "failed"
    assert result["reason"].startswith("the loss is nan at step")
    state = torch.load(only(tmp_path, "**/checkpoint.pt"), weights_only=True)
    assert all(value.isfinite().all() for value in state["model"].values())


@pytest.mark.slow
def test_odd_names_and_another_working_folder(tmp_path: Path) -> None:
    names = ['tracker.project="it\'s [bold]ünï/数 :smile:"', "output='a b/\"ö\" [red]x'", *TINY, WIDTH]
    ended = call(*names, "data.train_split='" + "x" * 300 + "'", cwd=tmp_path)
    assert ended.code == 0, ended.text
    folder = only(tmp_path / 'a b/"ö" [red]x').parent
    assert f"{folder.relative_to(tmp_path)}/" in ended.out
    config = json.loads((folder / "config.json").read_text())
    assert config["config"]["tracker"]["project"] == "it's [bold]ünï/数 :smile:"
    assert [path.name for path in tmp_path.iterdir()] == ["a b"]


@pytest.mark.slow
def test_ctrl_c_before_the_first_step(tmp_path: Path) -> None:
    layers = "layers.groups=[attention,attention,attention,attention]"
    process = start(*TINY, WIDTH, "train.epochs=1000", layers, f"output={tmp_path}")
    while not list(tmp_path.glob("**/result.json")):
        assert process.poll() is None, end(process).text
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    ended = end(process)
    assert ended.code == 143
    assert "Traceback" not in ended.text
    assert layers in ended.out  # the command to go on with, whole
    assert json.loads(only(tmp_path).read_text())["status"] == "interrupted"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_whose_exception_is_lost_is_obeyed_at_the_next_step() -> None:
    class Dropped:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)  # Python prints what is raised here, and goes on

    before = signal.getsignal(signal.SIGTERM)
    try:
        listen(signal.SIGTERM)
        Dropped()
        with pytest.raises(Interrupted, match="SIGTERM"), Interrupt() as interrupt:
            assert interrupt.number == signal.SIGTERM
        listen(signal.SIGTERM)
        with Interrupt() as interrupt:
            assert interrupt.number is None
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.slow
def test_make_tables_does_what_the_scale_has_and_goes_on_after_a_failed_row(tmp_path: Path) -> None:
    """With such a rate all rows fail."""
    ready, sources = ROOT / ".venv" / "ready", [ROOT / "pyproject.toml", ROOT / "uv.lock"]
    if not ready.exists() or ready.stat().st_mtime < max(path.stat().st_mtime for path in sources):
        pytest.skip("there is no environment by make setup, or it is not up to date")
    program = ["make", "tables", "SCALE=imagenet", "TABLES=table2 table5 table6"]
    arguments = f"train.lr=-1 tracker=none output={tmp_path}"
    done = subprocess.run([*program, f"ARGS={arguments}"], cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode != 0
    assert "left out at SCALE=imagenet: table2" in done.stdout
    assert "with failed rows: table5 table6" in done.stdout
    for row in ("table5=none", "table5=relative", "table6=position"):
        assert f"failed  {row}: train.lr=-1.0: expected a learning rate above 0" in done.stderr
    assert not (tmp_path / "table2").exists()
