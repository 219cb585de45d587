"""metrics.jsonl and TensorBoard events."""

from __future__ import annotations

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from amorlip.common.errors import AmorlipError
from amorlip.training import records
from amorlip.training.metrics import Metrics
from amorlip.training.records import EpochRecord, Record, RunRecord, StepRecord

RUN = RunRecord(
    scale="s", method="clip", variant=None, seed=0, steps_per_epoch=5, epochs=2, samples=44, parameters=10**6
)


def step(number: int, **values) -> StepRecord:
    common = {"epoch": 1, "samples_seen": 8 * number, "lr": 1e-3, "grad_norm": 1.0, "skipped_steps": 0}
    return StepRecord.model_validate(
        {"step": number, **common, "samples_per_s": 9.0, "loss": float(number), "infonce": 2.5, **values}
    )


def epoch(number: int, at: int) -> EpochRecord:
    return EpochRecord(epoch=number, step=at, seconds=1.0, tasks={"openmoji": {"acc1": 0.5}})


def write(path, board, found, until=0) -> Metrics:
    log = Metrics(path, board, until_step=until)
    for record in found:
        log.append(record)
    log.close()
    return log


def test_records_after_the_checkpoint_are_dropped(tmp_path):
    path, board = tmp_path / "m.jsonl", tmp_path / "board"
    write(path, board, [RUN, step(4), epoch(1, 5), step(8), epoch(2, 10), step(12)])
    with path.open("a") as file:
        file.write('{"kind": "step", "step": 9, "torn')
    log = write(path, board, [step(12)], until=10)
    assert log.records == records.read(path) == [RUN, step(4), epoch(1, 5), step(8), epoch(2, 10), step(12)]
    assert log.has_epoch(2) and not log.has_epoch(3)
    assert write(path, board, [step(8)], until=7).records == [RUN, step(4), epoch(1, 5), step(8)]


def test_a_new_start_forgets_everything(tmp_path):
    path = tmp_path / "m.jsonl"
    write(path, tmp_path / "board", [RUN, step(4)])
    assert write(path, tmp_path / "board", [RUN]).records == records.read(path) == [RUN]


@pytest.mark.parametrize("record", [RUN, step(3), epoch(2, 7)])
def test_a_record_is_read_as_it_was_written(record):
    assert records.parse(records.line(record), "here") == record


def test_a_line_that_is_cut_short_ends_what_an_unfinished_run_has(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text(records.line(step(1)) + records.line(step(2)).rstrip("\n"))
    assert records.read_unfinished(path) == [step(1)]
    assert records.read_unfinished(tmp_path / "absent") == []
    with pytest.raises(AmorlipError, match="absent: No such file"):
        records.read(tmp_path / "absent")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"kind": "step", "step": 1}', "epoch: Field required"),
        (records.line(step(1)).replace("2.5", '"high"'), "infonce"),
        ('{"kind": "stop"}', "'stop'"),
        ("[]", "m.jsonl, line 2"),
        ("{", "m.jsonl, line 2: .*JSON"),
    ],
)
def test_a_line_that_is_not_a_record_is_named(tmp_path, text, message):
    path = tmp_path / "m.jsonl"
    path.write_text(f"{records.line(RUN)}{text}\n")
    with pytest.raises(AmorlipError, match=message) as caught:
        records.read(path)
    assert "line 2" in str(caught.value)


def test_what_is_not_finite_becomes_null(tmp_path):
    path = tmp_path / "m.jsonl"
    log = write(path, tmp_path / "board", [step(1, loss=float("nan"), infonce=float("inf"))])
    expected: list[Record] = [step(1, loss=None, infonce=None)]
    assert log.records == records.read(path) == expected


def test_events_hold_the_same_numbers_without_repeats(tmp_path):
    path, board = tmp_path / "m.jsonl", tmp_path / "board"
    write(path, board, [RUN, step(4), step(8), epoch(1, 8), step(12), step(16)])
    write(path, board, [step(12), step(16)], until=8)
    events = EventAccumulator(str(board)).Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(4, 4), (8, 8), (12, 12), (16, 16)]
    assert {event.value for event in events.Scalars("train/infonce")} == {2.5}
    assert [(event.step, event.value) for event in events.Scalars("openmoji/acc1")] == [(8, 0.5)]
