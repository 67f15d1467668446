"""What a finished run is good for afterwards: evaluated again, on its images or on others, and as a start for another run."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from conftest import TINY, Ended, call, module, only
from records import add_run
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision.models import resnet50

from sasa.config import compose
from sasa.errors import InputError
from sasa.evaluate import main, renamed
from sasa.export import main as export
from sasa.models.build import classifier
from sasa.records.weights import find_weights
from sasa.train.pretrained import load_weights

compose.register()


def evaluate(*words: str) -> Ended:
    return module("sasa.evaluate", *words)


def test_the_weights_that_were_evaluated_are_kept(trained: tuple[Path, Ended]) -> None:
    folder = only(trained[0]).parent
    kept, state = load_file(folder / "weights.safetensors"), torch.load(folder / "checkpoint.pt", weights_only=True)
    assert all(torch.equal(value, kept[name]) for name, value in state["model_ema"].items())
    assert not torch.equal(kept["fc.weight"], state["model"]["fc.weight"])


@pytest.mark.slow
def test_a_run_on_its_own_images_and_on_others(trained: tuple[Path, Ended], tmp_path: Path) -> None:
    output = shutil.copytree(trained[0], tmp_path / "out")
    folder = only(output).parent
    first = json.loads((folder / "result.json").read_text())["accuracy"]["test"]
    best = load_file(folder / "best.safetensors")
    save_file(best | {"fc.bias": best["fc.bias"] + torch.arange(8)}, folder / "best.safetensors")
    names = json.loads((folder / "classes.json").read_text())["names"]
    for run, *words in (["table1/conv_stem_26", "data.size=48"], [str(folder)]):
        ended = evaluate(run, *words, f"--output={output}")
        assert ended.code == 0, ended.text
        assert "other names" not in ended.text
    assert f"top1 {first['top1']:.2f}" in ended.out
    (folder / "classes.json").write_text(json.dumps({"names": names[::-1]}))
    ended = evaluate(str(folder / "best.safetensors"), f"--output={output}")
    assert "8 of 8 classes have other names" in ended.out, ended.text
    larger, same, of_best = json.loads((folder / "evaluations.json").read_text()).values()
    assert same["accuracy"] == pytest.approx(first)
    assert (same["data"]["size"], larger["data"]["size"]) == (32, 48)
    assert larger["accuracy"]["loss"] != same["accuracy"]["loss"]
    assert (same["weights"], of_best["weights"]) == ("weights.safetensors", "best.safetensors")
    assert of_best["accuracy"]["loss"] != pytest.approx(first["loss"])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["table1/none"], "table1/none: there is no such file and no run"),
        (["RUN", "train.lr=1"], "train.lr=1: only data and its fields can be given"),
        (["RUN", "data.sise=3"], "data has no field sise. Did you mean size"),
        (["RUN", "data=folder"], "data.root=null"),
    ],
)
def test_what_is_refused(
    trained: tuple[Path, Ended], words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word.replace("RUN", "table1/conv_stem_26") for word in words]
    assert main([words[0], f"--output={trained[0]}", *words[1:]]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert expected in said


def test_weights_of_another_network_or_spoiled_ones_in_a_runs_folder_are_refused(
    trained: tuple[Path, Ended], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = shutil.copytree(trained[0], tmp_path / "out")
    path = only(output, "**/weights.safetensors")
    weights, run = load_file(path), ["table1/conv_stem_26", f"--output={output}"]
    bias = weights.pop("fc.bias")
    for changed, expected in (
        ({}, " is of another network: 1 of its weights do not fit, such as fc.bias"),
        ({"fc.bias": bias / 0}, ": fc.bias is not finite"),
    ):
        save_file(weights | changed, path)
        for command in (lambda: main(run), lambda: export([*run, f"--to={tmp_path / 'to'}"])):
            assert command() == 2
            (said,) = capsys.readouterr().err.splitlines()
            assert f"weights.safetensors{expected}" in said


def test_a_named_file_of_a_run_is_its_weights(
    trained: tuple[Path, Ended], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is exported without the accuracy, which is the evaluated ones'; of a run that is not finished it is refused."""
    folder = only(shutil.copytree(trained[0], tmp_path / "out")).parent
    best, to = folder / "best.safetensors", tmp_path / "to"
    assert export([str(best), f"--to={to}"]) == 0
    facts = json.loads((to / "config.json").read_text())["sasa"]
    assert (facts["weights"], facts["row"], "accuracy" in facts) == (best.name, "conv_stem_26", False)
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(result | {"status": "interrupted"}))
    capsys.readouterr()
    for command in (lambda: main([str(best)]), lambda: export([str(best), f"--to={to}"])):
        assert command() == 2
        assert "is not finished (interrupted)" in capsys.readouterr().err


def test_of_a_row_s_several_runs_the_finished_ones_are_named(tmp_path: Path) -> None:
    for seed, status in enumerate(("failed", "running", "finished")):
        add_run(tmp_path, "table4", "k3", seed=seed, status=status)
    with pytest.raises(InputError, match=r"k3 has 3 runs: name one of them, as in '[^']*seed=2'$"):
        find_weights("table4/k3", str(tmp_path))


def test_classes_of_other_names_are_told() -> None:
    assert renamed(["ant", "bee", "cat"], ["ant", "bee", "cat"]) == ""
    assert renamed([], ["ant", "bee"]) == ""  # of a run that did not note them
    assert renamed(["ant", "bee", "cat"], ["ant", "cat", "bee"]).startswith(
        "2 of 3 classes have other names than those that the run learnt: cat is counted as right where it finds bee"
    )


def test_other_images_are_shown_as_the_runs_own_were() -> None:
    config = compose.compose_row(["table1=full_26", "scale=imagenet", "data.root=/images", "data.crop=0.9"])
    data = compose.other_data(config, ["data=folder", "data.root=/v2", "data.size=288"])
    assert (data.reader, data.root, data.test_split, data.test_images) == ("folder", "/v2", "test", None)
    assert (data.size, data.crop, data.classes, data.mean) == (288, 0.9, 1000, config.data.mean)
    with pytest.raises(InputError, match=r"data\.classes=3: the run tells 1000 classes apart"):
        compose.other_data(config, ["data=folder", "data.root=/v2", "data.classes=3"])


@pytest.mark.slow
def test_a_run_starts_from_the_weights_of_another_with_other_classes(
    trained: tuple[Path, Ended], pictures: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained[0], tmp_path, dirs_exist_ok=True)
    first = next(tmp_path.glob("table1/conv_stem_26/*/"))
    here = [
        "data=folder",
        f"data.root={pictures}",
        "data.classes=4",
        "data.skip_broken=true",
        *TINY[1:],
        "data.test_images=16",
    ]
    row = ["table1=conv_stem_26", *here, "train.lr=1e-30", f"output={tmp_path}"]
    ended = call(*row, "backbone.weights=table1/conv_stem_26")
    assert ended.code == 0, ended.text
    (second,) = set(tmp_path.glob("table1/conv_stem_26/*/")) - {first}
    before, after = (load_file(folder / "weights.safetensors") for folder in (first, second))
    assert (before["fc.weight"].shape[0], after["fc.weight"].shape[0]) == (8, 4)
    learnt = [name for name in before if not name.startswith("fc.") and "running" not in name and "num_" not in name]
    assert all(torch.equal(before[name], after[name]) for name in learnt)
    again = call(*row, "backbone.weights=table1/conv_stem_26")
    assert "is finished already" in again.out, again.text
    wide = call(*row, "backbone.weights=table1/conv_stem_26", "scale.width=0.5")
    assert wide.code == 1
    assert "is of another network (" in wide.text


@pytest.mark.parametrize(
    ("made", "save", "name"),
    [(resnet50, torch.save, "resnet50.pth"), (lambda: timm.create_model("resnet50"), save_file, "model.safetensors")],
)
def test_the_convolution_baseline_starts_from_torchvisions_or_timms_file(
    made: Callable[[], nn.Module], save: Callable[[dict[str, Tensor], Path], None], name: str, tmp_path: Path
) -> None:
    with torch.device("meta"):
        network = made()
    weights, path = {name: torch.rand(value.shape) for name, value in network.state_dict().items()}, tmp_path / name
    save(weights, path)
    config = compose.compose_row(["table1=baseline_50", "scale.width=1", "data.classes=3", f"backbone.weights={path}"])
    model = classifier(config)
    fresh = model.state_dict()["fc.weight"].clone()
    load_weights(model, config)
    loaded = model.state_dict()
    assert torch.equal(loaded["stem.conv1.weight"], weights["conv1.weight"])
    assert torch.equal(loaded["layer4.2.conv3.weight"], weights["layer4.2.conv3.weight"])
    assert torch.equal(loaded["fc.weight"], fresh)
