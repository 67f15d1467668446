"""The networks of Section 4.1: torchvision's ResNet where they are convolutions, any size, timm's names."""

import pytest
import timm
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st

import sasa.models.zoo  # noqa: F401 - registers the names
from sasa.config import compose
from sasa.models.resnet import CONVOLUTION, ResNet, from_torchvision
from sasa.nn.attention import AttentionOptions, LocalAttention
from sasa.nn.bottleneck import Pointwise

compose.register()
SMALL = AttentionOptions(heads=2, stem_heads=2)


def test_baseline_is_torchvisions_resnet50():
    torch.manual_seed(0)
    theirs, ours = torchvision.models.resnet50().eval(), ResNet(groups=CONVOLUTION).eval()
    ours.load_state_dict(from_torchvision(theirs.state_dict()))
    images = torch.randn(2, 3, 97, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), rtol=0, atol=0)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_pointwise_is_the_convolution(stride, layout):
    torch.manual_seed(0)
    layer = Pointwise(5, 7, stride, bias=True).double()
    x = torch.randn(2, 5, 9, 8, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    expected = torch.nn.functional.conv2d(x, layer.weight, layer.bias, stride)
    output, gradient = layer(x), torch.randn_like(expected)
    torch.testing.assert_close(output, expected)
    assert output.is_contiguous(memory_format=layout)
    wanted = (x, layer.weight, layer.bias)
    torch.testing.assert_close(
        torch.autograd.grad(output, wanted, gradient), torch.autograd.grad(expected, wanted, gradient)
    )


@settings(max_examples=15)
@given(
    groups=st.lists(st.sampled_from(["convolution", "attention"]), min_size=4, max_size=4),
    stem=st.sampled_from(["conv", "attention", "attention_conv_values", "attention_spatial_values"]),
    height=st.integers(16, 75),
    width=st.integers(16, 75),
)
def test_any_input_size(groups, stem, height, width):
    """Both primitives and all stems halve sizes the same way, rounding up."""
    network = ResNet(26, groups, stem, width=0.25, options=SMALL, num_classes=5)
    images = torch.randn(2, 3, height, width).contiguous(memory_format=torch.channels_last)
    network(images).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    features = network.forward_features(images)
    assert features.shape[2:] == (-(-height // 32), -(-width // 32))


def test_attention_replaces_every_3x3_and_pools_where_it_strode():
    network = ResNet(50, options=SMALL)
    layers = [m for m in network.modules() if isinstance(m, LocalAttention)]
    assert len(layers) == 16
    assert not [m for m in network.modules() if isinstance(m, torch.nn.Conv2d) and m.kernel_size == (3, 3)]
    assert sum(isinstance(m, torch.nn.AvgPool2d) for m in network.modules()) == 3


def test_maps_stay_channels_last():
    network = ResNet(26, width=0.25, options=SMALL).to(memory_format=torch.channels_last)
    maps = network.forward_features(torch.randn(2, 3, 64, 64).contiguous(memory_format=torch.channels_last))
    assert maps.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", timm.list_models("sasa*"))
def test_timm_builds_every_network(name):
    with torch.device("meta"):
        network = timm.create_model(name, num_classes=7)
        assert network(torch.empty(1, 3, 224, 224)).shape == (1, 7)
        features = timm.create_model(name, features_only=True, out_indices=(1, 2, 3, 4))
        shapes = [tuple(f.shape) for f in features(torch.empty(1, 3, 224, 224))]
    assert shapes == [(1, 256, 56, 56), (1, 512, 28, 28), (1, 1024, 14, 14), (1, 2048, 7, 7)]
    assert features.feature_info.reduction() == [4, 8, 16, 32]


def test_timms_training_script_arguments_are_taken():
    network = timm.create_model(
        "sasa26_conv_stem", in_chans=1, num_classes=3, drop_rate=0.1, global_pool="avg", scriptable=False, extent=5
    )
    assert network(torch.randn(2, 1, 33, 40)).shape == (2, 3)
    network.reset_classifier(0)
    assert network(torch.randn(2, 1, 33, 40)).shape == (2, 2048)
    views = timm.data.resolve_data_config({}, model=network)
    imagenet = compose.compose_row(["scale=imagenet"]).data
    assert (views["input_size"], views["crop_pct"]) == ((3, imagenet.size, imagenet.size), imagenet.crop)
    assert ([*views["mean"]], [*views["std"]]) == (imagenet.mean, imagenet.std)
