"""Checkpoints: whole, verified, harmless."""

from __future__ import annotations

import io
import logging
import pickle
from pathlib import Path

import pytest
import torch

from amorlip.common import files
from amorlip.common.errors import AmorlipError
from amorlip.training import checkpoint
from amorlip.training.checkpoint import Checkpoints


def state(number: float) -> dict:
    return {"model": {"weight": torch.full((1000,), number)}, "seconds": number}


@pytest.fixture
def saved(tmp_path) -> Checkpoints:
    checkpoints = Checkpoints(tmp_path / "c")
    for step in (5, 10, 15):
        checkpoints.save(step, state(step))
    return checkpoints


@pytest.fixture
def warnings(caplog):
    caplog.set_level(logging.WARNING, logger="amorlip")
    return caplog


def test_nothing_yet(tmp_path):
    assert Checkpoints(tmp_path / "absent").latest() is None


def test_the_newest_two_are_kept(saved):
    step, found = saved.latest()
    assert step == 15
    assert torch.equal(found["model"]["weight"], torch.full((1000,), 15.0))
    names = sorted(path.name for path in saved.folder.iterdir())
    assert names == [f"step-000000{step}.{kind}" for step in (10, 15) for kind in ("json", "pt")]


class Interrupting(io.FileIO):
    """A file in whose third write Ctrl-C is pressed."""

    writes = 0

    def write(self, data):
        self.writes += 1
        if self.writes == 3:
            raise KeyboardInterrupt
        return super().write(data)


def test_ctrl_c_while_it_is_written_is_an_interrupt(saved, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", lambda self, mode: Interrupting(self, mode))
        with pytest.raises(KeyboardInterrupt) as raised:
            saved.save(20, state(20))
    assert raised.value.__suppress_context__  # nothing is said of the archive that was cut
    assert saved.latest()[0] == 15
    assert sorted(path.suffix for path in saved.folder.iterdir()) == [".json", ".json", ".pt", ".pt"]


def cut(path):
    path.write_bytes(path.read_bytes()[:-500])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def lose(path):
    path.unlink()


def spoil_digest(path):
    path.with_suffix(".json").write_text('{"step": 15')


@pytest.mark.parametrize("damage", [cut, flip, lose, spoil_digest])
def test_a_damaged_one_falls_back_to_the_one_before(saved, warnings, damage):
    damage(saved.folder / "step-00000015.pt")
    assert saved.latest()[0] == 10
    assert len(warnings.records) == 1
    assert "step-00000015.pt cannot be used" in warnings.records[0].getMessage()
    assert "\n" not in warnings.records[0].getMessage()


class Payload:
    def __reduce__(self):
        return print, ("pickled code was run",)


def test_pickled_code_is_refused_and_not_run(saved, warnings, capsys):
    path = saved.folder / "step-00000015.pt"
    torch.save({"model": Payload()}, path)
    files.write_json(path.with_suffix(".json"), {"step": 15, "sha256": files.sha256(path)})
    assert saved.latest()[0] == 10
    path.write_bytes(pickle.dumps(Payload(), protocol=2))
    files.write_json(path.with_suffix(".json"), {"step": 15, "sha256": files.sha256(path)})
    assert saved.latest()[0] == 10
    assert "pickled code was run" not in capsys.readouterr().out
    assert len(warnings.records) == 2


def test_none_readable_is_an_error_not_a_new_start(saved, warnings):
    for step in (10, 15):
        cut(saved.folder / f"step-000000{step}.pt")
    with pytest.raises(AmorlipError, match="no checkpoint can be read; delete this folder"):
        saved.latest()


def test_tidy_removes_what_a_kill_left(saved):
    (saved.folder / ".step-00000020.pt.x1.pt").write_bytes(b"half")
    (saved.folder / "step-00000020.pt").write_bytes(b"whole, but its digest is missing")
    assert saved.latest()[0] == 15
    saved.tidy()
    assert len(list(saved.folder.iterdir())) == 4


@pytest.fixture
def of_two_ranks(tmp_path) -> Checkpoints:
    checkpoints = Checkpoints(tmp_path / "c")
    for step in (5, 10, 15):
        parts = [checkpoints.save_part(step, rank, {"own": torch.tensor([step, rank])}) for rank in (0, 1)]
        checkpoints.save(step, state(step), parts)
    return checkpoints


def test_files_of_single_ranks_belong_to_a_checkpoint(of_two_ranks):
    assert of_two_ranks.latest()[0] == 15
    assert [part["own"].tolist() for part in of_two_ranks.parts(15)] == [[15, 0], [15, 1]]
    names = sorted(path.name for path in of_two_ranks.folder.glob("step-00000010*"))
    assert names == [f"step-00000010{rest}" for rest in ("-rank0.pt", "-rank1.pt", ".json", ".pt")]
    assert len(list(of_two_ranks.folder.iterdir())) == 8
    of_two_ranks.tidy()
    assert len(list(of_two_ranks.folder.iterdir())) == 8


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink])
def test_a_damaged_file_of_one_rank_falls_back_to_the_one_before(of_two_ranks, warnings, damage):
    damage(of_two_ranks.folder / "step-00000015-rank1.pt")
    assert of_two_ranks.latest()[0] == 10
    assert "step-00000015.pt cannot be used" in warnings.records[0].getMessage()


def test_files_of_single_ranks_without_a_checkpoint_are_deleted(of_two_ranks):
    """The process was killed before rank 0 wrote the rest."""
    of_two_ranks.save_part(20, 1, {"own": torch.tensor([20, 1])})
    assert of_two_ranks.latest()[0] == 15
    of_two_ranks.tidy()
    assert not list(of_two_ranks.folder.glob("step-00000020*"))


def test_key_changes_with_what_decides_the_weights_only(make_run):
    def key(digest="d", architecture=None, **recipe):
        return checkpoint.key(make_run(**recipe), digest, architecture or {"width": 1})

    same = [
        key(loader={"workers": 3}), key(checkpoint_every_steps=1),
        key(checkpoint_every_minutes=1), key(log_every_steps=1), key(on_nonfinite="skip")
    ]  # fmt: skip
    other = [key(seed=1), key(epochs=4), key(threads_per_rank=2), key("e"), key(architecture={"width": 2})]
    other += [key(loader={"workers": 0, "shuffle_window": 1}), key(epoch_tasks=["openmoji"])]
    assert set(same) == {key()}
    assert len({key(), *other}) == len(other) + 1
    assert len(key()) == 12


def test_not_a_number_is_never_saved():
    checkpoint.require_finite({"never": torch.tensor([1.0, float("inf")]), "count": torch.tensor(3)}, "model", 7)
    with pytest.raises(AmorlipError, match="step 7: 'layer.weight' of the model is not a number"):
        checkpoint.require_finite({"layer.weight": torch.tensor([1.0, float("nan")])}, "model", 7)
