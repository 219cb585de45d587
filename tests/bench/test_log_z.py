"""Shares of the variance of log Z: of a planted corpus, for which they are known, and of a run's."""

from __future__ import annotations

import json
import math

import pytest
import torch
import torch.nn.functional as F

from amorlip import cli, models
from amorlip.bench import log_z
from amorlip.common.errors import AmorlipError
from amorlip.config.objectives import AmorlipL2Log
from amorlip.config.run import write_run
from tests.helpers.tiny import make_run, write_corpus


def planted(pairs: int, scale: float = 8.0) -> log_z.Corpus:
    """Random directions, of which some point to where many others are: log Z depends on the pair."""
    generator = torch.Generator().manual_seed(0)
    center = F.normalize(torch.ones(16), dim=0)
    weight = torch.rand(pairs, 1, generator=generator)
    image, text = (
        F.normalize(weight * center + 0.3 * torch.randn(pairs, 16, generator=generator), dim=-1) for _ in range(2)
    )
    return log_z.Corpus(image, text, torch.tensor(scale), positive_weight=1e-3)


def test_log_z_is_that_of_its_definition():
    corpus = planted(30)
    found = corpus.log_z(torch.arange(10))
    logits = (8.0 * corpus.image[:10] @ corpus.text[:10].T).double()
    weights = torch.ones(10, 10, dtype=torch.float64).fill_diagonal_(1e-3)
    expected = torch.stack([(weights * logits.exp()).sum(1).log(), (weights * logits.exp()).sum(0).log()])
    assert torch.allclose(found.double(), expected, atol=1e-5)


def test_batches_are_whole_and_cover_the_corpus():
    rows = list(planted(30).batches(8, 6, seed=0))
    assert [len(part) for part in rows] == [8] * 6
    assert len(torch.cat(rows[:3]).unique()) == 24 == len(torch.cat(rows[3:]).unique())


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_the_share_between_pairs_is_the_planted_one(share):
    generator = torch.Generator().manual_seed(1)
    rows = torch.arange(4000).repeat(8)[: 8 * 4000 - 700]
    own = torch.randn(2, 4000, generator=generator)[:, rows]
    noise = torch.randn(2, len(rows), generator=generator)
    values = 5 + math.sqrt(share) * own + math.sqrt(1 - share) * noise
    assert log_z.between(values, rows) == pytest.approx(share, abs=0.02)


def test_what_is_explained():
    values = torch.randn(2, 1000, generator=torch.Generator().manual_seed(2))
    assert log_z.explained(values, values) == 1.0
    assert log_z.explained(values, values.mean(1, keepdim=True).expand_as(values)) == pytest.approx(0, abs=1e-6)
    assert log_z.explained(values, values + 3) < 0
    assert log_z.explained(values, values + 3, with_constant=True) == pytest.approx(1.0)


def test_larger_batches_and_more_fits_explain_more():
    truth = log_z.Truth(planted(2048))
    results = [
        log_z.measure(truth, AmorlipL2Log(), log_z.Case(batch, fits, 0.5, 0.92))
        for batch, fits in [(16, 20), (16, 400), (512, 20), (512, 400)]
    ]
    small_few, small, large_few, large = results
    assert small.pairs < large.pairs and small.corpus < large.corpus <= 1
    assert small_few.networks < small.networks < large.networks and large_few.networks < large.networks
    for result in results:
        assert result.networks < result.pairs + 0.03  # no function of the pair explains more
        assert result.corpus < result.pairs + 0.03


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a run with untrained weights, in the layout of a study."""
    results = tmp_path_factory.mktemp("study") / "results"
    write_corpus(results / "corpora/tiny/train")
    folder = results / "mini/runs/tiny/clip-seed0"
    folder.mkdir(parents=True)
    run = make_run("clip")
    write_run(run, folder)
    models.export(models.create("tiny", seed=0), folder / "model.safetensors")
    return folder


def test_result_files(trained, tmp_path):
    results = log_z.run(tmp_path / "z.json", tmp_path / "z.md", trained, only=["*fits 30,*"])
    written = json.loads((tmp_path / "z.json").read_text())
    assert [entry["case"] for entry in written] == [result.case for result in results] and written
    assert "| 22 | 30 | 0.5 | 0.92 |" in (tmp_path / "z.md").read_text()
    assert "44 pairs" in (tmp_path / "z.md").read_text()


def test_of_a_large_corpus_some_pairs_are_drawn(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(log_z, "ENCODED", 8)
    monkeypatch.setattr(log_z, "MOST_PAIRS", 24)
    log_z.run(tmp_path / "z.json", tmp_path / "z.md", trained, only=["*fits 30,*"])
    assert "24 pairs" in (tmp_path / "z.md").read_text()


def test_a_missing_corpus_is_one_line(trained, tmp_path):
    alone = tmp_path / "other/mini/runs/tiny/clip-seed0"
    alone.mkdir(parents=True)
    for name in ("run.yaml", "model.safetensors"):
        (alone / name).write_bytes((trained / name).read_bytes())
    with pytest.raises(AmorlipError, match=r"corpora/tiny/train/manifest.json is missing; give the folder of a run"):
        log_z.run(tmp_path / "z.json", tmp_path / "z.md", alone)


def test_only_log_z_is_measured_on_a_run(tmp_path, trained, capsys):
    for what, more in [("log-z", []), ("scaling", ["--run", str(trained)])]:
        with pytest.raises(SystemExit):
            cli.main(["bench", what, "--output", str(tmp_path), *more])
        assert "--run FOLDER, a finished run, is needed by `amorlip bench log-z`" in capsys.readouterr().err
    patterns = ["--cases", "*fits 30,*"]
    cli.main(["bench", "log-z", "--output", str(tmp_path), "--run", str(trained), *patterns])
    assert "44 pairs" in capsys.readouterr().out
