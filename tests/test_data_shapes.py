"""Generated images: reproducible, and of a class by the arrangement of their parts alone."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_data_loaders import data

from sasa.config.choices import Augment
from sasa.data.build import splits
from sasa.data.render import render
from sasa.data.scene import CLOSE, DIRECTIONS, FAR, KINDS, WOBBLE, Part, View, scenes
from sasa.data.seeds import hash64, uniform
from sasa.errors import InputError

RING, CROSS = 2, 3  # slots
HASHES = [15724360586833778554, 17728666462854024784]
CENTRE = [17.505022263827236, 50.55132496178317]
PIXELS = [[97, 115, 93], [115, 129, 97], [104, 124, 98], [128, 159, 119]]


def test_the_numbers_are_the_same_on_every_machine() -> None:
    assert hash64(0, 1, [2, -3]).tolist() == HASHES
    first = scenes(0, np.arange(1), 64, 8)
    assert np.allclose(first.centre[0, RING], CENTRE)
    assert np.abs(render(first)[0, ::16, 40].astype(int) - PIXELS).max() <= 1


def test_random_numbers_are_uniform_and_distinct() -> None:
    numbers = uniform(3, np.arange(50_000), 1)
    assert abs(numbers.mean() - 0.5) < 0.005
    assert abs(numbers.std() - 12**-0.5) < 0.005
    assert abs(np.corrcoef(numbers[1:], numbers[:-1])[0, 1]) < 0.02
    assert len(np.unique(hash64(3, np.arange(50_000)))) == 50_000


@settings(max_examples=25)
@given(
    size=st.integers(32, 100),
    classes=st.integers(2, 8),
    indices=st.lists(st.integers(0, 10**6), min_size=1, max_size=40),
    split=st.integers(0, 1),
)
def test_a_scene_depends_on_its_index_alone_and_fits_the_image(
    size: int, classes: int, indices: list[int], split: int
) -> None:
    many = scenes(split, np.array(indices), size, classes)
    images = render(many)
    assert images.shape == (len(indices), size, size, 3)
    last = scenes(split, np.array(indices[-1:]), size, classes)
    assert np.array_equal(render(last)[0], images[-1])
    for scene in range(len(indices)):
        parts = many.parts(scene)
        assert [part.kind for part in parts[-2:]] == ["ring", "cross"]
        assert 3 <= len(parts) <= 4
        assert not {"ring", "cross"} & {part.kind for part in parts[:-2]}
        for part in parts:
            assert 0 <= part.box[0] < part.box[2] <= size
            assert 0 <= part.box[1] < part.box[3] <= size


def test_train_and_test_images_are_different() -> None:
    both = [image.tobytes() for split in (0, 1) for image in render(scenes(split, np.arange(300), 32, 8))]
    assert len(set(both)) == 600


def test_the_class_is_the_direction_from_ring_to_cross() -> None:
    many = scenes(0, np.arange(4000), 64, 8)
    apart = many.centre[:, CROSS] - many.centre[:, RING]
    direction = np.degrees(np.arctan2(apart[:, 0], -apart[:, 1]))
    expected = np.array([*DIRECTIONS.values()])[many.labels]
    assert np.abs((direction - expected + 180) % 360 - 180).max() < WOBBLE + 1e-6
    distance = np.hypot(*apart.T)
    assert 11 < 64 * FAR.distance[0] <= distance.min()  # the receptive field of the stem at 64 pixels
    assert distance.max() <= 64 * FAR.distance[1]


def test_a_bag_of_parts_says_nothing_about_the_class() -> None:
    """Every attribute's mean, and the places of the distractors and of the pair, agree over classes within their error."""
    count, classes = 80_000, 8
    many = scenes(0, np.arange(count), 64, classes)
    middle = (many.centre[:, RING] + many.centre[:, CROSS]) / 2
    for place in (many.centre[:, 0], many.centre[:, 1], middle):
        cells = (place // (64 / 6)).astype(int) @ np.array([6, 1])
        table = np.stack([np.bincount(cells[many.labels == label], minlength=36) for label in range(classes)])
        expected = table.mean(0)
        used = expected > 5
        statistic = ((table - expected)[:, used] ** 2 / expected[used]).sum()
        freedom = (classes - 1) * (used.sum() - 1)
        assert statistic < freedom + 4 * np.sqrt(2 * freedom)
    for slot in range(4):
        for values in (many.radius, many.hue, many.turn, many.texture, many.kind, many.present):
            groups = [values[many.labels == label, slot].astype(float) for label in range(classes)]
            error = 4.5 * values[:, slot].std() * np.sqrt(classes / count)
            assert all(abs(group.mean() - values[:, slot].mean()) <= error for group in groups)


@pytest.mark.parametrize("view", [FAR, CLOSE])
@pytest.mark.parametrize("kind", KINDS)
def test_boxes_are_tight(kind: str, view: View) -> None:
    """What a part changes in the image is its box, give or take the shadow."""
    many = scenes(0, np.arange(60), 128, 8, view)
    many.kind[:, CROSS] = KINDS.index(kind)
    many.present[:, :RING] = False
    without = dataclasses.replace(many, present=many.present.copy())
    without.present[:, CROSS] = False
    changed = np.abs(render(many).astype(int) - render(without)).max(-1) > 45
    errors = []
    for scene in range(60):
        part: Part = many.part(scene, CROSS)
        rows, columns = np.flatnonzero(changed[scene].any(1)), np.flatnonzero(changed[scene].any(0))
        found = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        errors.append(np.abs(np.array(found) - part.box).max())
    assert np.median(errors) < 2.2


def test_classes_are_balanced_and_named() -> None:
    parts = splits(data(train_images=80, classes=8))
    assert parts.classes == list(DIRECTIONS)
    assert (
        np.bincount([parts.train.source.load([index], None).labels.item() for index in range(80)]).tolist() == [10] * 8
    )


def test_images_are_drawn_once_and_kept() -> None:
    source = splits(data()).train.source
    first = source.load([3, 5, 3], None)
    assert np.array_equal(first.images[0], first.images[2])
    assert source.drawn.sum() == 2  # type: ignore[attr-defined]
    assert np.array_equal(source.load([5], None).images[0], first.images[1])
    source.memory = None  # type: ignore[attr-defined]  # as for a set that is too large to keep
    assert np.array_equal(source.load([5], None).images[0], first.images[1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": 9}, r"data\.classes=9: generated images have 2 to 8 classes"),
        ({"size": 24}, r"data\.size=24: generated images need at least 32 pixels"),
        ({"augment": Augment.flip}, r"data\.augment=flip .* changes its class, so set data\.augment=none"),
        ({"test_split": "train"}, r"data\.train_split and data\.test_split are both train"),
        ({"train_images": 1}, r"at least 2 are needed"),
    ],
)
def test_what_cannot_be_generated(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        splits(data(**changes))
