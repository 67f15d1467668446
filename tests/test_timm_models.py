"""What timm's own tests ask of every model, asked of ours; and what other tools make of the networks."""

import copy
import re

import pytest
import timm
import torch
from timm.layers import DropPath
from timm.optim import create_optimizer_v2
from torch import Tensor, nn

import sasa.models.zoo  # noqa: F401 - registers the names
from sasa.errors import InputError
from sasa.nn.stem import VALUES

SMALL = {"width": 0.25, "heads": 2, "stem_heads": 2}
NAMES = timm.list_models("sasa*")
DEPTH26 = ["sasa26", "sasa26_conv_stem"]


def small(name: str = "sasa26", **arguments) -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(name, **SMALL, **arguments)


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", NAMES)
def test_default_configuration(name):
    """Input size, pool size, and names of the first and the last layer are what the configuration says."""
    with torch.device("meta"):
        network = timm.create_model(name).eval()
        image = torch.empty(1, *network.default_cfg["input_size"])
        assert network(image).shape == (1, network.num_classes)
        maps = network.forward_features(image)
        assert maps.shape == (1, network.num_features, *network.default_cfg["pool_size"])
        for pool, size in (("", (7, 7)), ("avg", ()), ("catavgmax", ())):
            network.reset_classifier(0, pool)
            assert network(image).shape == (1, network.head_hidden_size, *size)
    names = timm.create_model(name, num_classes=3, width=0.25).state_dict().keys()
    first = ["stem.conv1"] if name.endswith("_conv_stem") else ["stem.query", "stem.key", "stem.value.project"]
    assert network.default_cfg["first_conv"] == (first[0] if name.endswith("_conv_stem") else None)
    for layer in (*first, network.default_cfg["classifier"]):
        assert f"{layer}.weight" in names


@pytest.mark.parametrize("name", DEPTH26)
@pytest.mark.parametrize("pool", ["avg", "max", "avgmax", "catavgmax", "fast", "fastmax"])
def test_head(name, pool, images):
    network = small(name, num_classes=5, global_pool=pool, drop_rate=0.1).eval()
    pooled = network.forward_head(network.forward_features(images), pre_logits=True)
    assert pooled.shape == (2, network.head_hidden_size)
    torch.testing.assert_close(network(images), network.fc(pooled))
    network.reset_classifier(7)
    assert network(images).shape == (2, 7)
    assert network.global_pool.pool_type == pool
    assert network.get_classifier() is getattr(network, network.get_classifier(name_only=True))


def test_a_new_head_is_where_the_network_is():
    network = small(device="meta", dtype=torch.float64).eval()
    network.reset_classifier(3)
    assert (network.fc.weight.dtype, network.fc.weight.device.type) == (torch.float64, "meta")
    assert not network.fc.training


@pytest.mark.parametrize("name", DEPTH26)
@pytest.mark.parametrize("indices", [None, 2, [0, 3], [-4, -2]])
def test_intermediates_are_the_features(name, indices, images):
    network = small(name).eval()
    last, maps = network.forward_intermediates(images, indices)
    torch.testing.assert_close(last, network.forward_features(images), rtol=0, atol=0)
    if indices is not None:
        for one, two in zip(network.get_intermediate_layers(images, indices), maps, strict=True):
            torch.testing.assert_close(one, two, rtol=0, atol=0)
    assert len(maps) == (5 if indices is None else indices if isinstance(indices, int) else 2)
    stopped = network.forward_intermediates(images, indices, stop_early=True, intermediates_only=True)
    chosen = tuple(range(5)) if indices is None else (3, 4) if indices == 2 else tuple(i % 5 for i in indices)
    for kind in ("list", "getter"):
        torch.manual_seed(0)
        features = timm.create_model(name, features_only=True, feature_cls=kind, out_indices=chosen, **SMALL).eval()
        features.load_state_dict(network.state_dict(), strict=False)
        for one, two, three, stride, width in zip(
            maps,
            stopped,
            features(images),
            features.feature_info.reduction(),
            features.feature_info.channels(),
            strict=True,
        ):
            torch.testing.assert_close(one, two, rtol=0, atol=0)
            torch.testing.assert_close(one, three, rtol=0, atol=0)
            assert one.shape == (2, width, 64 // stride, 64 // stride)


def test_pruned_layers_are_gone(images):
    network = small().eval()
    whole = network.forward_intermediates(images, [2], intermediates_only=True)
    assert network.prune_intermediate_layers([2]) == [2]
    torch.testing.assert_close(network(images), whole[0], rtol=0, atol=0)
    assert not [name for name, _ in network.named_parameters() if name.startswith(("layer3", "layer4", "fc"))]


@pytest.mark.parametrize("name", DEPTH26)
def test_checkpointing_changes_no_gradient(name, images):
    """And every parameter has one."""
    gradients, kept = [], []
    for enable in (False, True):
        network = small(name, drop_path_rate=0.5).train()
        network.set_grad_checkpointing(enable)
        torch.manual_seed(1)
        size = [0]
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x, n=size: (n.__setitem__(0, n[0] + x.numel()), x)[1], lambda x: x
        ):
            loss = network(images).square().mean()
        loss.backward()
        kept.append(size[0])
        gradients.append({name: p.grad for name, p in network.named_parameters()})
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients[0].values())
    torch.testing.assert_close(gradients[1], gradients[0])
    assert kept[1] < 0.7 * kept[0]


def test_drop_path_grows_with_depth():
    rates = [m.drop_prob for m in small("sasa50", drop_path_rate=0.3).modules() if isinstance(m, DropPath)]
    assert rates == pytest.approx([0.3 * block / 15 for block in range(1, 16)])
    assert not [m for m in small("sasa50").modules() if isinstance(m, DropPath)]


def test_layers_decay_in_their_order():
    network = small("sasa26_conv_stem")
    groups = create_optimizer_v2(network, "adamw", lr=1.0, weight_decay=0.1, layer_decay=0.5).param_groups
    scales = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    by_name = {name: scales[id(p)] for name, p in network.named_parameters()}
    order = ["stem.conv1", "layer1.0.conv1", "layer2.0.conv1", "layer2.1.conv1", "layer4.0.conv1", "fc"]
    assert [by_name[f"{name}.weight"] for name in order] == [0.5**9, 0.5**8, 0.5**7, 0.5**6, 0.5, 1.0]
    for name, p in network.named_parameters():
        spared = p.ndim == 1 or re.search(r"\.(row|column)$", name)
        assert decays[id(p)] == (0.0 if spared else 0.1), name
    coarse = network.group_matcher(coarse=True)["blocks"]
    assert {m[1] for name, _ in network.named_parameters() if (m := re.match(coarse, name))} == set("1234")


def test_unpublished_weights_and_scripting_are_refused_with_a_way_out():
    with pytest.raises(InputError, match=r"no published weights.*sasa\.export"):
        timm.create_model("sasa50", pretrained=True)
    with pytest.raises(InputError, match=r"torch\.export"), pytest.warns(FutureWarning, match="deprecated"):
        torch.jit.script(small())


@pytest.mark.parametrize("name", DEPTH26)
@pytest.mark.parametrize("convert", [timm.layers.convert_sync_batchnorm, nn.SyncBatchNorm.convert_sync_batchnorm,
                                     lambda network: timm.layers.convert_splitbn_model(network, 2)])  # fmt: skip
def test_another_batch_norm_in_the_place_of_ours(name, convert, images):
    """What follows it, ReLU and the shortcut's sum, is kept."""
    network = small(name, drop_path_rate=0.5).eval()
    expected = network(images)
    converted = convert(copy.deepcopy(network)).eval()
    assert type(converted.layer1[0].bn1) is not type(network.layer1[0].bn1)
    torch.testing.assert_close(converted(images), expected)


@pytest.mark.parametrize("stem", sorted({*VALUES, "conv"}))
def test_trained_weights_take_images_of_other_channels(stem, images, caplog):
    """Grey images as three equal channels, and twice three channels as these."""
    name = "sasa26_conv_stem" if stem == "conv" else "sasa26"
    network = small(name, stem=stem).eval()
    for channels, one, three in (
        (1, images[:, :1], images[:, :1].repeat(1, 3, 1, 1)),
        (6, images.repeat(1, 2, 1, 1), images),
    ):
        weights = {"state_dict": {key: value.clone() for key, value in network.state_dict().items()}}
        other = small(name, stem=stem, in_chans=channels, pretrained=True, pretrained_cfg_overlay=weights).eval()
        torch.testing.assert_close(other(one), network(three), rtol=1e-3, atol=1e-4)
    assert not caplog.records


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("name", DEPTH26)
def test_tracing_copying_and_other_channels(name, images):
    network = small(name).eval()
    torch.testing.assert_close(torch.jit.trace(network, images)(images), network(images))
    torch.testing.assert_close(copy.deepcopy(network)(images), network(images))
    assert small(name, in_chans=1).eval()(images[:, :1]).shape == (2, 1000)


def test_features_by_torch_fx(images):
    network = small().eval()
    extractor = timm.models.create_feature_extractor(network, {"layer2": "two", "layer4": "four"})
    maps = network.forward_intermediates(images, [2, 4], intermediates_only=True)
    for one, two in zip(extractor(images).values(), maps, strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.slow
def test_onnx_runs_the_same_network(tmp_path):
    """With any number of images."""
    onnxruntime = pytest.importorskip("onnxruntime")
    network, path, image = small(num_classes=4).eval(), tmp_path / "network.onnx", torch.randn(2, 3, 48, 64)
    batch = {0: torch.export.Dim("batch")}
    torch.onnx.export(network, (image,), path, dynamo=True, dynamic_shapes=(batch,), verbose=False)
    session = onnxruntime.InferenceSession(path)
    images = torch.randn(3, 3, 48, 64)
    (output,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    torch.testing.assert_close(torch.from_numpy(output), network(images))


def test_gradients_of_each_image_by_torch_func():
    """vmap(grad) of a whole network against one backward pass an image."""
    network = small(num_classes=3).eval()
    parameters = {name: p.detach() for name, p in network.named_parameters()}
    images, labels = torch.randn(3, 3, 32, 32), torch.tensor([0, 1, 2])

    def loss(parameters, image, label):
        logits = torch.func.functional_call(network, parameters, (image[None],))
        return nn.functional.cross_entropy(logits, label[None])

    gradients = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(parameters, images, labels)
    for index in range(3):
        network.zero_grad()
        loss(dict(network.named_parameters()), images[index], labels[index]).backward()
        for name, p in network.named_parameters():
            torch.testing.assert_close(gradients[name][index], p.grad, rtol=1e-3, atol=1e-4 * float(p.grad.abs().max()))
