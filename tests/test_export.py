"""A finished run as timm and torchvision take it: written by `python -m sasa.export`, loaded by their own functions."""

import json
from pathlib import Path

import pytest
import timm
import torch
from conftest import TINY, Ended, call, module, only
from safetensors.torch import load_file

import sasa.models.zoo  # noqa: F401 - registers the names
from sasa.config import compose
from sasa.data.build import open_test
from sasa.evaluate import main as evaluate
from sasa.export import detector, main
from sasa.models.build import network

compose.register()


def export(*words: str) -> Ended:
    return module("sasa.export", *words)


def test_timm_loads_a_classifier_and_finds_its_accuracy(trained: tuple[Path, Ended], tmp_path: Path) -> None:
    output, folder = trained[0], tmp_path / "ex ported"
    ended = export("table1/conv_stem_26", f"--output={output}", f"--to={folder}")
    assert ended.code == 0, ended.text
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    result = json.loads(only(output).read_text())
    config = compose.checked(json.loads((only(output).parent / "config.json").read_text())["config"])
    samples = open_test(config.data)
    images, labels = map(list, zip(*(samples[index] for index in range(len(samples))), strict=True))
    with torch.no_grad():
        right = model(torch.stack(images)).argmax(1) == torch.tensor(labels)
    assert 100 * right.float().mean().item() == pytest.approx(result["accuracy"]["test"]["top1"])
    said = timm.data.resolve_model_data_config(model)
    assert (said["input_size"], said["crop_pct"]) == ((3, 32, 32), 1.0)
    assert (list(said["mean"]), list(said["std"])) == (config.data.mean, config.data.std)
    facts = json.loads((folder / "config.json").read_text())
    assert (facts["sasa"]["row"], facts["sasa"]["accuracy"]) == ("conv_stem_26", result["accuracy"])
    assert facts["model_args"]["heads"] == config.attention.heads
    other = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=3)  # to go on with other classes
    assert torch.equal(other.layer1[0].conv1.weight, model.layer1[0].conv1.weight)
    assert other.fc.out_features == 3


def test_what_is_refused(trained: tuple[Path, Ended], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = f"--output={trained[0]}"
    for words, expected in (
        (["table1/none", output, f"--to={tmp_path}"], "there is no such file and no run"),
        (
            ["table1/conv_stem_26", output, f"--to={only(trained[0]).parent}"],
            "is the folder of a run: give another one",
        ),
    ):
        assert main(words) == 2
        assert expected in capsys.readouterr().err
    with pytest.raises(ValueError, match="holds no detector"):
        detector(tmp_path)


@pytest.mark.slow
def test_a_detector_takes_images_as_torchvisions_do(tmp_path: Path) -> None:
    """Of its own size it finds the very boxes that the run's network finds; of others, boxes in their own pixels."""
    output, folder = tmp_path / "out", tmp_path / "exported"
    ended = call("table2=attention_conv_stem", *TINY[1:], "data.size=64", f"output={output}")
    assert ended.code == 0, ended.text
    assert main(["table2/attention_conv_stem", f"--output={output}", f"--to={folder}"]) == 0
    theirs, run = detector(folder), only(output).parent
    assert evaluate(["table2/attention_conv_stem", f"--output={output}"]) == 0  # once more, alone
    (again,) = json.loads((run / "evaluations.json").read_text()).values()
    assert again["accuracy"] == pytest.approx(json.loads((run / "result.json").read_text())["accuracy"]["test"])
    config = compose.checked(json.loads((run / "config.json").read_text())["config"])
    ours = network(config).eval()
    ours.load_state_dict(load_file(run / "weights.safetensors"))
    theirs.score_thresh = ours.score_thresh = 0.0  # after so short a training no box is likely
    image, _ = open_test(config.data, boxes=True)[0]
    mean, std = (torch.tensor(values)[:, None, None] for values in (config.data.mean, config.data.std))
    with torch.no_grad():
        (wanted,), (given,) = ours([image]), theirs([image * std + mean])
        (large,) = theirs([torch.rand(3, 200, 320)])
    assert len(wanted["boxes"]) == 100
    for name in ("boxes", "scores", "labels"):
        torch.testing.assert_close(given[name], wanted[name], rtol=1e-3, atol=1e-3)
    assert len(large["boxes"])
    assert large["boxes"].amax() > 64
    assert (large["boxes"] <= torch.tensor([320, 200, 320, 200])).all()
