"""Batches are the set's samples in order, decoded by any number of workers."""

from __future__ import annotations

import io
import random
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from amorlip.common.errors import AmorlipError
from amorlip.evaluation.images import batches
from amorlip.loader.decode import decode
from amorlip.tasks.read import open_classification, open_retrieval
from tests.common.test_images import PNG


def made(sets, task, folder, count=23):
    labels = [n % 4 for n in range(count)]
    metadata = [[n, -n] for n in range(count)]
    sets.classification(folder, sets.pictures(count), labels, list("abcd"), ["{c}"], metadata=metadata, shards=3)
    return open_classification(folder, task("classification_grouped", "acc_wg", metadata=["up", "down"], group_by="up"))


@pytest.mark.parametrize("workers", [0, 2])
def test_order_labels_metadata_and_pixels(sets, toy, task, tmp_path, workers):
    data = made(sets, task, tmp_path)
    result = list(batches(data.records, toy.preprocess, batch_size=4, workers=workers))
    assert [len(batch.keys) for batch in result] == [4, 4, 4, 4, 4, 3]
    assert [key for batch in result for key in batch.keys] == [f"s{n:07d}" for n in range(23)]
    assert torch.cat([batch.labels for batch in result]).tolist() == [n % 4 for n in range(23)]
    assert torch.cat([batch.metadata for batch in result]).tolist() == [[n, -n] for n in range(23)]
    expected = torch.from_numpy(sets.pictures(23)).permute(0, 3, 1, 2) / 255 - 0.5
    torch.testing.assert_close(torch.cat([batch.images for batch in result]), expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_zip_archive_in_the_order_of_its_table(sets, toy, tmp_path, workers):
    data = open_retrieval(sets.retrieval(tmp_path, sets.pictures(9), [["one", "two"]] * 9))
    result = list(batches(data.images.records, toy.preprocess, batch_size=2, workers=workers))
    expected = torch.from_numpy(sets.pictures(9)).permute(0, 3, 1, 2) / 255 - 0.5
    torch.testing.assert_close(torch.cat([batch.images for batch in result]), expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_fault_is_one_line_from_a_worker_too(sets, toy, task, tmp_path, workers):
    data = made(sets, task, tmp_path)
    sets.write_tar(tmp_path / "test" / "1.tar", [("bad.cls", b"0"), ("bad.npy", sets.npy([1, 2])), ("bad.png", b"?")])
    with pytest.raises(AmorlipError) as caught:
        list(batches(data.records, toy.preprocess, batch_size=4, workers=workers))
    assert str(caught.value).startswith(f"{tmp_path}/test/1.tar: sample 'bad': not an image;")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 2])
def test_global_random_numbers_are_not_drawn(sets, toy, task, tmp_path, workers):
    data = made(sets, task, tmp_path)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    list(batches(data.records, toy.preprocess, batch_size=4, workers=workers))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert (np.random.get_state()[1] == before[2]).all()


def test_other_image_modes_become_rgb_before_the_transform(sets, task, tmp_path):
    sets.classification(tmp_path, sets.pictures(1), [0], ["a"], ["{c}"])
    picture = Image.fromarray(sets.pictures(1)[0]).quantize(7)
    buffer = io.BytesIO()
    picture.save(buffer, "png")
    sets.write_tar(tmp_path / "test" / "0.tar", [("x.cls", b"0"), ("x.png", buffer.getvalue())])
    modes = []

    def preprocess(image):
        modes.append(image.mode)
        return torch.from_numpy(np.array(image))

    data = open_classification(tmp_path, task("classification", "acc1"))
    (batch,) = batches(partial(data.records), preprocess, batch_size=4, workers=0)
    assert modes == ["RGB"]
    assert (batch.images[0].numpy() == np.array(picture.convert("RGB"))).all()


@pytest.mark.parametrize("transparency", ["drop", "white"])
def test_training_and_evaluation_show_the_same_pixels(transparency, sets, task, tmp_path):
    """Of the same file, with the same key on both sides, in every pixel format of PNG."""
    names = list(PNG)
    members = [
        (f"{number}.{ending}", data)
        for number, name in enumerate(names)
        for ending, data in (("cls", b"0"), ("png", PNG[name][0]))
    ]
    sets.classification(tmp_path, sets.pictures(1), [0], ["a"], ["{c}"])
    sets.write_tar(tmp_path / "test" / "0.tar", members)
    data = open_classification(tmp_path, task("classification", "acc1"))
    found = batches(data.records, np.array, batch_size=1, workers=0, transparency=transparency)
    for name, batch in zip(names, found, strict=True):
        assert (batch.images[0].numpy() == decode(PNG[name][0], transparency)).all(), name
