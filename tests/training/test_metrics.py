"""metrics.jsonl and TensorBoard events."""

from __future__ import annotations

import json

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from amorlip.training import metrics
from amorlip.training.metrics import Metrics

RUN = {"kind": "run", "samples": 5}


def step(number: int) -> dict:
    return {"kind": "step", "step": number, "epoch": 1, "loss": float(number)}


def epoch(number: int, at: int) -> dict:
    return {"kind": "epoch", "epoch": number, "step": at, "seconds": 1.0, "tasks": {"openmoji": {"acc1": 0.5}}}


def write(path, board, records, until=0):
    log = Metrics(path, board, until_step=until)
    for record in records:
        log.append(record)
    log.close()
    return log


def test_records_after_the_checkpoint_are_dropped(tmp_path):
    path, board = tmp_path / "m.jsonl", tmp_path / "board"
    write(path, board, [RUN, step(4), epoch(1, 5), step(8), epoch(2, 10), step(12)])
    with path.open("a") as file:
        file.write('{"kind": "step", "step": 9, "torn')
    log = write(path, board, [step(12)], until=10)
    assert log.records == metrics.read(path) == [RUN, step(4), epoch(1, 5), step(8), epoch(2, 10), step(12)]
    assert log.has_epoch(2) and not log.has_epoch(3)
    assert write(path, board, [step(8)], until=7).records == [RUN, step(4), epoch(1, 5), step(8)]


def test_a_new_start_forgets_everything(tmp_path):
    path = tmp_path / "m.jsonl"
    write(path, tmp_path / "board", [RUN, step(4)])
    assert write(path, tmp_path / "board", [RUN]).records == metrics.read(path) == [RUN]


def test_a_torn_line_ends_the_record(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps(step(1)) + "\n" + json.dumps(step(2)))
    assert metrics.read(path) == [step(1)]
    assert metrics.read(tmp_path / "absent") == []


def test_what_is_not_finite_becomes_null(tmp_path):
    path = tmp_path / "m.jsonl"
    write(path, tmp_path / "board", [{**step(1), "loss": float("nan"), "grad_norm": float("inf")}])
    assert metrics.read(path)[0] == {**step(1), "loss": None, "grad_norm": None}


def test_events_hold_the_same_numbers_without_repeats(tmp_path):
    path, board = tmp_path / "m.jsonl", tmp_path / "board"
    write(path, board, [RUN, step(4), step(8), epoch(1, 8), step(12), step(16)])
    write(path, board, [step(12), step(16)], until=8)
    events = EventAccumulator(str(board)).Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(4, 4), (8, 8), (12, 12), (16, 16)]
    assert [(event.step, event.value) for event in events.Scalars("openmoji/acc1")] == [(8, 0.5)]
