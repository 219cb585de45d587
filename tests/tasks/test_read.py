"""The layouts are read as they are on the hub; every fault is one line that names the file."""

from __future__ import annotations

import ast
import io
import json
from functools import partial
from pathlib import Path

import clip_benchmark
import numpy as np
import pytest

from amorlip.common.errors import AmorlipError
from amorlip.tasks.lists import list_of_texts, read_table
from amorlip.tasks.read import open_association, open_classification, open_retrieval
from tests.helpers.bounds import bounded

NAMES = ["cat", "dog", "ox"]
PUBLISHED = json.loads((Path(clip_benchmark.__file__).parent / "datasets/en_classnames.json").read_text())
"""Set → class names, from which the sets on the hub were written."""


@pytest.fixture
def folder(sets, tmp_path):
    """A classification set of three samples with two metadata columns in two shards."""
    metadata = [[4, 0], [5, 0], [6, 1]]
    return sets.classification(
        tmp_path / "set", sets.pictures(3), [2, 0, 1], NAMES, ["a {c}."], metadata=metadata, shards=2
    )


@pytest.fixture
def grouped(task):
    """The task that fits."""
    return task("classification_grouped", "acc_wg", classes=3, samples=3, metadata=["place", "time"], group_by="place")


def read(folder, task):
    data = open_classification(folder, task)
    return data, list(data.records())


def assert_refused(call, *words):
    with pytest.raises(AmorlipError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert str(word) in message


# ---------------------------------------------------------------- classification


@pytest.mark.parametrize("kind", ["png", "webp", "jpg", "jpeg"])
def test_a_classification_set(sets, task, tmp_path, kind):
    sets.classification(
        tmp_path, sets.pictures(3), [2, 0, 1], NAMES, ["a {c}."], shards=2, kind=kind.replace("jpg", "jpeg")
    )
    data, found = read(tmp_path, task("classification", "acc1"))
    assert data.names == NAMES and data.templates == ["a {c}."]
    assert [record.label for record in found] == [2, 0, 1]
    assert found[1].read() == sets.encode(sets.pictures(3)[1], kind.replace("jpg", "jpeg"))
    assert [record.metadata.tolist() for record in found] == [[], [], []]


def test_spaces_and_line_ends_are_no_part_of_a_name(folder, grouped):
    (folder / "classnames.txt").write_bytes(b" cat\r\ndog  \r\nox")
    assert open_classification(folder, grouped).names == NAMES


def test_metadata_in_the_same_pass(folder, grouped):
    _, found = read(folder, grouped)
    assert [record.metadata.tolist() for record in found] == [[4, 0], [5, 0], [6, 1]]


def test_shards_in_the_order_of_their_numbers(sets, task, tmp_path):
    sets.classification(tmp_path, sets.pictures(12), [0] * 12, ["a"], ["{c}"], shards=12)
    _, found = read(tmp_path, task("classification", "acc1"))
    assert [record.key for record in found] == [f"s{n:07d}" for n in range(12)]


def test_metadata_of_whole_floats_are_integers(sets, folder, grouped):
    sample = [("a.png", b""), ("a.cls", b"1"), ("a.npy", sets.npy([3.0, 1.0]))]
    sets.write_tar(folder / "test" / "0.tar", sample)
    _, found = read(folder, grouped)
    assert found[0].metadata.dtype == np.int64 and found[0].metadata.tolist() == [3, 1]


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([("a.png", b"")], ["sample 'a'", "no label"]),
        ([("a.png", b""), ("a.cls", b"cat")], ["sample 'a'", "not an integer"]),
        ([("a.png", b""), ("a.cls", b"3")], ["sample 'a'", "label 3", "0 to 2"]),
        ([("a.png", b""), ("a.cls", b"-1")], ["sample 'a'", "label -1"]),
        ([("a.cls", b"1")], ["sample 'a'", "0 images"]),
        ([("a.png", b""), ("a.jpg", b""), ("a.cls", b"1")], ["2 images"]),
        ([("a.png", b""), ("a.cls", b"1")], ["no metadata"]),
        ([("a.png", b""), ("a.cls", b"1"), ("a.npy", b"x")], ["cannot be read"]),
        ([("../a.png", b""), ("../a.cls", b"1")], ["sample '../a'", "leaves its folder"]),
        ([("/a.png", b""), ("/a.cls", b"1")], ["sample '/a'", "leaves its folder"]),
    ],
)
def test_faulty_samples(sets, folder, grouped, members, words):
    sets.write_tar(folder / "test" / "1.tar", members)
    assert_refused(lambda: read(folder, grouped), folder / "test" / "1.tar", *words)


def test_a_file_name_given_twice(sets, folder, task):
    sets.write_tar(folder / "test" / "1.tar", [("a.png", b""), ("a.cls", b"1"), ("a.cls", b"2")])
    plain = task("classification", "acc1", classes=3)
    assert_refused(lambda: read(folder, plain), folder / "test" / "1.tar", "sample 'a' has a duplicate file")


def test_other_files_are_ignored(sets, folder, task):
    plain = task("classification", "acc1", classes=3)
    extra = [("README.md", b""), ("._b.png", b""), ("b.png", b""), ("._b.cls", b""), ("b.cls", b"1"), ("c.json", b"{}")]
    sets.write_tar(folder / "test" / "1.tar", extra)
    assert [record.key for record in read(folder, plain)[1]] == ["s0000000", "s0000001", "b"]


@pytest.mark.parametrize("values", [[1, 2, 3], [[1, 2]], [0.5, 1], ["1", "2"]])
def test_metadata_that_do_not_fit(sets, folder, grouped, values):
    sets.write_tar(folder / "test" / "0.tar", [("a.png", b""), ("a.cls", b"1"), ("a.npy", sets.npy(values))])
    assert_refused(lambda: read(folder, grouped), folder / "test" / "0.tar", "metadata (npy)")


def npy_header(shape):
    """An array without its content."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<i8", "fortran_order": False, "shape": shape})
    return file.getvalue()


@pytest.mark.parametrize(
    ("ending", "data", "words"),
    [
        ("npy", npy_header((10**13,)), ["metadata (npy)", "cannot be read"]),
        ("npy", npy_header((10**9, 10**9)), ["metadata (npy)", "cannot be read"]),
        ("npy", np.lib.format.MAGIC_PREFIX + b"\x01\x00\xff\x26" + b"(" * 9983, ["metadata (npy)", "cannot be read"]),
        ("npy", b"PK\x03\x04" + bytes(40), ["metadata (npy)", "cannot be read"]),
        ("npy", bytes(2_000_000), ["the file .npy has 2000000 bytes"]),
        ("cls", b"9" * 4000, ["the label 999", "not one of the 3 classes"]),
        ("cls", b"9" * 5000, ["not an integer"]),
        ("cls", bytes(2_000_000), ["the file .cls has 2000000 bytes"]),
    ],
)
def test_members_that_are_meant_to_do_harm(sets, folder, grouped, ending, data, words):
    members = {"png": b"", "cls": b"1", "npy": sets.npy([1, 2]), ending: data}
    sets.write_tar(folder / "test" / "0.tar", [(f"a.{name}", content) for name, content in members.items()])
    with bounded(mib=200):
        assert_refused(lambda: read(folder, grouped), folder / "test" / "0.tar", "sample 'a'", *words)


def test_tables_that_are_meant_to_do_harm(tmp_path):
    path = tmp_path / "rounds.csv"
    for text in ("a" * 1000 + ",b\n1,2\n", ",".join(f"c{n}" for n in range(5000)) + "\n", '"' * 1001, "\0\n\0,\n"):
        path.write_text(text)
        assert_refused(lambda: read_table(path, ("cue",)), path)
        with pytest.raises(AmorlipError) as caught:
            read_table(path, ("cue",))
        assert len(str(caught.value)) < 500
    for text in ("[" * 100_000, "-" * 100_000 + "1", "['a'" * 1000, "[" + "9" * 5000 + "]", " " * 2_000_000):
        for parse in (ast.literal_eval, json.loads):
            assert_refused(partial(list_of_texts, text, parse, "row 1"), "row 1")


def test_a_truncated_shard(folder, grouped):
    shard = folder / "test" / "0.tar"
    shard.write_bytes(shard.read_bytes()[:700])
    assert_refused(lambda: read(folder, grouped), shard, "cannot be read")


@pytest.mark.parametrize("text", ["1", "3", "0", "-2", "two", "", "1000000000", "9" * 5000])
def test_a_number_of_shards_that_disagrees(folder, grouped, text):
    (folder / "test" / "nshards.txt").write_text(text)
    assert_refused(lambda: read(folder, grouped), folder / "test" / "nshards.txt")


@pytest.mark.parametrize(
    "name", ["classnames.txt", "zeroshot_classification_templates.txt", "test/nshards.txt", "test/1.tar"]
)
def test_missing_files(folder, grouped, name):
    (folder / name).unlink()
    assert_refused(lambda: read(folder, grouped), folder, "nshards.txt" if name.endswith("tar") else name)


def test_names_and_templates_that_do_not_fit(folder, grouped):
    (folder / "classnames.txt").write_text("cat\ndog\n")
    assert_refused(lambda: read(folder, grouped), folder / "classnames.txt", "2 classes", "expects 3")
    (folder / "classnames.txt").write_text("cat\n\ndog\nox\n")
    assert_refused(lambda: read(folder, grouped), folder / "classnames.txt", "line 2 is empty")
    (folder / "classnames.txt").write_text("cat\ndog\nox\n")
    (folder / "zeroshot_classification_templates.txt").write_text("a {c}\na {}\n")
    assert_refused(lambda: read(folder, grouped), "zeroshot_classification_templates.txt", "'a {}'", "{c}")


@pytest.mark.parametrize("name", PUBLISHED)
def test_names_of_the_published_sets_are_read_as_they_are(folder, task, name):
    """ImageNet's hold two names twice, CLEVR's an empty one; clip_benchmark scores both as they are."""
    names = PUBLISHED[name]
    (folder / "classnames.txt").write_text("".join(f"{line}\n" for line in names))
    found = open_classification(folder, task("classification", "acc1", classes=len(names))).names
    assert found == [line.strip() for line in names]


def test_a_byte_order_mark_is_no_part_of_a_name(folder, grouped):
    for path in ["classnames.txt", "zeroshot_classification_templates.txt", "test/nshards.txt"]:
        text = (folder / path).read_bytes()
        (folder / path).write_bytes(b"\xef\xbb\xbf" + text)
    data = open_classification(folder, grouped)
    assert (data.names, data.templates, len(data.shards)) == (NAMES, ["a {c}."], 2)


# ---------------------------------------------------------------- retrieval


@pytest.fixture
def captioned(sets, tmp_path):
    """A retrieval set of three images."""
    return sets.retrieval(tmp_path / "captioned", sets.pictures(3), [["a", 'b "quoted", é'], ["c"], ["d", "e", "f"]])


def test_a_retrieval_set(sets, captioned):
    data = open_retrieval(captioned)
    assert data.captions == ["a", 'b "quoted", é', "c", "d", "e", "f"]
    assert data.image_of == [0, 0, 1, 2, 2, 2]
    assert data.keys == ["s0000000", "s0000001", "s0000002"]
    assert [record.read() for record in data.images.records()] == [sets.encode(p) for p in sets.pictures(3)]


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([("a.png", b"")], ["sample 'a'", "no text (txt)"]),
        ([("a.png", b""), ("a.txt", b" \n\n")], ["sample 'a'", "no caption"]),
        ([("a.png", b""), ("a.txt", b"\xff")], ["sample 'a'", "not UTF-8"]),
        ([("../a.png", b""), ("../a.txt", b"x")], ["leaves its folder"]),
        ([], ["no samples"]),
    ],
)
def test_faulty_captions(sets, captioned, members, words):
    sets.write_tar(captioned / "test" / "0.tar", members)
    assert_refused(lambda: open_retrieval(captioned), captioned / "test", *words)


# ---------------------------------------------------------------- association


@pytest.fixture
def played(sets, tmp_path):
    """Two rounds with a shared candidate."""
    images = dict(zip(["bee", "st. bernard", "o'clock", "tea"], sets.pictures(4), strict=True))
    rounds = [("Sting", ["bee", "st. bernard"], ["bee"]), ("five", ["tea", "o'clock", "bee"], ["o'clock", "tea"])]
    return sets.association(tmp_path / "played", images, rounds)


def test_an_association_set(sets, played):
    data = open_association(played)
    assert data.names == ["bee", "st. bernard", "tea", "o'clock"]
    assert [play.cue for play in data.rounds] == ["Sting", "five"]
    assert [play.candidates for play in data.rounds] == [[0, 1], [2, 3, 0]]
    assert [play.associated for play in data.rounds] == [[True, False], [True, True, False]]
    pictures = sets.pictures(4)[[0, 1, 3, 2]]
    assert [record.read() for record in data.images.records()] == [sets.encode(picture) for picture in pictures]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"candidates": "bee, tea"}, ["row 1", "candidates"]),
        ({"candidates": "__import__('os')"}, ["row 1", "candidates"]),
        ({"candidates": "['bee', 'wasp']"}, ["row 1", "'wasp' has no image"]),
        ({"associations": "['tea'"}, ["row 1", "associations"]),
        ({"associations": "['wasp']"}, ["row 1", "none of its associations"]),
        ({"cue": " "}, ["row 1", "cue"]),
    ],
)
def test_faulty_rounds(sets, played, changes, words):
    table = played / "winogavil_dataset.csv"
    row = {"cue": "sting", "candidates": "['bee', 'tea']", "associations": "['bee']"}
    sets.write_csv(table, [{**row, **changes}])
    assert_refused(lambda: open_association(played), table, *words)


def test_rounds_that_are_missing(played):
    (played / "winogavil_dataset.csv").unlink()
    assert_refused(lambda: open_association(played), played, "0 files *.csv")
