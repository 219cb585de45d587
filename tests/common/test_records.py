"""Records come back as they were written; a damaged file is one line that names it."""

from __future__ import annotations

import pytest

from amorlip.common.errors import AmorlipError
from amorlip.common.records import JsonRecord
from amorlip.evaluation.record import Evaluation, RunIdentity
from amorlip.tasks.record import TaskRecord

RUN = RunIdentity(scale="demo", method="clip", variant=None, seed=1)
RECORDS = {
    "task": TaskRecord(source={"kind": "hub", "revision": "abc"}, files={"test/0.tar": "12ab"}),
    "missing task": TaskRecord(source={"kind": "hub"}, missing="gated"),
    "evaluation": Evaluation(
        task="things", run=RUN, main_metric="acc1", value=0.25, metrics={"acc1": 0.25}, samples=4, classes=None,
        per_class={"count": [2, 2], "correct": [1, 0]}, groups={"3": {"acc1": 1.0, "count": 2}},
    ),
    "missing evaluation": Evaluation(task="things", run=RUN, main_metric="acc1", value=None, missing="gated"),
}  # fmt: skip


@pytest.mark.parametrize("name", RECORDS)
def test_what_was_written_is_read(name, tmp_path):
    record = RECORDS[name]
    record.write(tmp_path / "record.json")
    assert type(record).read(tmp_path / "record.json") == record
    assert ("missing" in (tmp_path / "record.json").read_text()) == name.startswith("missing")


def test_an_evaluation_begins_with_its_task_and_run(tmp_path):
    RECORDS["evaluation"].write(tmp_path / "t.json")
    lines = (tmp_path / "t.json").read_text().splitlines()
    assert lines[1] == '  "task": "things",' and lines[2] == '  "run": {' and '    "count": [2, 2],' in lines


class Record(JsonRecord):
    number: int
    text: str = ""


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        ("", "Invalid JSON"),
        ('{"number": 1', "Invalid JSON"),
        ("[1]", "object"),
        ("{}", "number: Field required"),
        ('{"number": "many"}', "number: Input should be a valid integer"),
        ('{"number": 1, "numbr": 2}', "numbr: Extra inputs are not permitted"),
    ],
)
def test_a_faulty_file_is_one_line(content, words, tmp_path):
    path = tmp_path / "record.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(AmorlipError) as caught:
        Record.read(path)
    assert str(caught.value).startswith(f"{path}: ") and words in str(caught.value) and "\n" not in str(caught.value)


def test_text_that_looks_like_a_list_is_kept(tmp_path):
    record = Record(number=1, text="[\n1,   2]  [3,\t4]")
    record.write(tmp_path / "record.json")
    assert Record.read(tmp_path / "record.json") == record
