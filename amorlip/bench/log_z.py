"""What an embedding can tell about log Z: for features of a trained run, and batches of several sizes.

Shares of the variance of a batch's log Z, over pairs and batches. The share between pairs is the most that any function
of the embedding can explain: the rest is which other pairs are in the batch. The share that log Z over the whole corpus
explains is what an oracle would know. That of AmorLIP's networks, fitted to these features, which do not change here,
says how much of it they learn, and from how many fits.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

import torch
from open_clip import CLIP
from torch import Tensor

from amorlip import models
from amorlip.bench import report
from amorlip.bench.report import Column
from amorlip.common.errors import AmorlipError
from amorlip.config.objectives import AmorlipL2Log
from amorlip.config.run import Run, read_run
from amorlip.corpus.manifest import read_manifest
from amorlip.corpus.records import MANIFEST
from amorlip.loader.augment import train_transform
from amorlip.loader.loader import PairLoader
from amorlip.objectives.amorlip_networks import AmortizationNetworks
from amorlip.objectives.base import Context, Features
from amorlip.objectives.divergences import l2_log
from amorlip.objectives.pairs import Pairs
from amorlip.training.results import WEIGHTS
from amorlip.training.step import Encoders

BATCHES = (64, 256, 1024, 4096)
FITS = (30, 120, 480, 1920)
"""Fits of new networks, as in an epoch of so many steps at T_online 1."""
WIDTHS = (0.5, 2.0)
"""f_d."""
ALPHAS = (0.92, 0.0)
"""α of the target networks; at 0 they are the online networks."""
MEASURED = 8
"""Over how many passes through the corpus variances are taken: a pair is in another batch each time."""
ENCODED = 256
"""Pairs of a pass through the encoders."""
MOST_PAIRS = 65536
"""Of a larger corpus, so many are drawn: the logits of all with all of them are computed."""


@dataclass(frozen=True)
class Corpus:
    """A run's features of its training corpus: N pairs of width d."""

    image: Tensor
    """(N, d)."""
    text: Tensor
    logit_scale: Tensor
    """() τ."""
    positive_weight: float
    """w_ii."""

    def log_z(self, rows: Tensor | slice = slice(None)) -> Tensor:
        """(2, b) log Z of a batch of these rows, or of all as one batch."""
        image, text = self.image[rows], self.text[rows]
        ids = torch.arange(len(image))
        features = Features(image, text, self.logit_scale, None, sample_ids=ids, step=0, epoch=0)
        context = Context(image.shape[1], len(image), len(image), epochs=1, steps_per_epoch=1, seed=0)
        pairs = Pairs(features, context)
        return pairs.with_positive(pairs.log_negatives, self.positive_weight)

    def batches(self, size: int, count: int, seed: int) -> Iterator[Tensor]:
        """Rows of `count` batches: the corpus in random order, again and again, each time its whole batches."""
        generator = torch.Generator().manual_seed(seed)
        endless = (
            part for _ in itertools.count() for part in torch.randperm(len(self.image), generator=generator).split(size)
        )
        yield from itertools.islice((rows for rows in endless if len(rows) == size), count)


@dataclass(frozen=True)
class Case:
    """Networks that are fitted to the log Z of batches."""

    batch: int
    fits: int
    f_d: float
    alpha: float

    @property
    def name(self) -> str:
        """All of it."""
        return f"batch {self.batch}, fits {self.fits}, f_d {self.f_d:g}, alpha {self.alpha:g}"


@dataclass(frozen=True)
class Result:
    """Shares of a variance; below 0, a constant is better."""

    case: str
    batch: int
    fits: int
    f_d: float
    alpha: float
    log_z_std: float
    """Standard deviation of a batch's log Z over pairs and batches, mean of both modalities."""
    pairs: float
    """Of the variance of a batch's log Z, that between pairs: no function of a pair explains more."""
    corpus: float
    """Of the variance of a batch's log Z, explained by log Z over the whole corpus and a constant."""
    networks: float
    """The same, explained by the target networks."""
    networks_of_corpus: float
    """Of the variance of log Z over the whole corpus, explained by the target networks and a constant."""


HEADING = """\
Features of {run}, which do not change: {pairs} pairs, τ = {scale:.1f}. Log Z of a pair in a batch, over pairs and
batches: its standard deviation, and shares of its variance: that between pairs, which no function of a pair exceeds;
what log Z over the whole corpus explains; what new networks explain after so many fits to other batches. Last: the
share of the variance of log Z over the corpus that the networks explain. Below 0, a constant is better."""
COLUMNS = [
    Column("batch", "{batch}"),
    Column("fits", "{fits}"),
    Column("f_d", "{f_d:g}"),
    Column("α", "{alpha:g}"),
    Column("std of log Z", "{log_z_std:.2f}"),
    Column("between pairs", "{pairs:.2f}"),
    Column("by the corpus", "{corpus:.2f}"),
    Column("by the networks", "{networks:.2f}"),
    Column("corpus by the networks", "{networks_of_corpus:.2f}"),
]


def run(
    output_json: Path,
    output_md: Path,
    folder: Path,
    *,
    cases: Sequence[Case] | None = None,
    only: Sequence[str] | None = None,
) -> list[Result]:
    """Measure with the weights in `folder`, a finished run of a study below results/; write both files after each case.

    `only`: patterns of names of cases. Raises AmorlipError if run or corpus are missing or too small, and at the end if
    cases failed, naming them.
    """
    trained = read_run(folder)
    corpus = encode(trained, folder)
    every = cases or _cases(len(corpus.image))
    todo = report.selected(every, [case.name for case in every], only)
    heading = HEADING.format(run=folder.name, pairs=len(corpus.image), scale=corpus.logit_scale.item())
    truth, settings = Truth(corpus), _settings(trained)
    results: list[Result] = []
    failures = report.Failures()
    for number, case in enumerate(todo, start=1):
        with failures.noted(case.name):
            results.append(measure(truth, settings, case))
            report.progress(number, len(todo), f"{case.name}: {results[-1].networks:.2f} of {results[-1].pairs:.2f}")
        report.write(output_json, output_md, results, heading, COLUMNS)
    failures.report(output_json)
    return results


def encode(trained: Run, folder: Path) -> Corpus:
    """Features of the run's training corpus, augmented as in training, by the weights in `folder`.

    Of MOST_PAIRS pairs at most, and without those that fill no pass. Raises AmorlipError if weights or corpus are
    missing.
    """
    shards = folder.resolve().parents[3] / "corpora" / trained.recipe.corpus / "train"
    if not (shards / MANIFEST).exists():
        raise AmorlipError(f"{shards / MANIFEST} is missing; give the folder of a run below results/, with its corpus")
    loaded = models.load(folder / WEIGHTS, trained.recipe.model)
    size = min(ENCODED, read_manifest(shards).samples)
    loader = PairLoader(
        shards,
        batch_size=size,
        epochs=1,
        seed=trained.seed,
        transform=train_transform(models.image_size(loaded.network), trained.recipe.augmentation),
        tokenizer=loaded.tokenizer,
    )
    encoders = Encoders(cast(CLIP, loaded.network)).eval()
    with torch.no_grad():
        batches = itertools.islice(loader.batches(), MOST_PAIRS // size)
        parts = [encoders(batch.images, batch.tokens) for batch in batches]
    image, text = map(torch.cat, zip(*parts, strict=True))
    scale = cast(Tensor, loaded.network.logit_scale).detach().exp()
    return Corpus(image, text, scale, _settings(trained).positive_weight)


def _settings(trained: Run) -> AmorlipL2Log:
    """AmorLIP's: the run's own, or the defaults where it is of another method."""
    known = AmorlipL2Log.model_fields.keys() if trained.objective.startswith("amorlip") else ()
    return AmorlipL2Log(**{key: value for key, value in trained.settings.items() if key in known})


def _cases(pairs: int) -> list[Case]:
    """Batches that the corpus fills at least twice; every number of fits at every batch, other keys at the last one."""
    sizes = [size for size in BATCHES if 2 * size <= pairs] or [max(2, pairs // 2)]
    fits = [Case(size, count, WIDTHS[0], ALPHAS[0]) for size in sizes for count in FITS]
    others = itertools.product(sizes, WIDTHS, ALPHAS)
    return list(dict.fromkeys([*fits, *(Case(size, FITS[-1], f_d, alpha) for size, f_d, alpha in others)]))


class Truth:
    """Log Z of every pair over the whole corpus, and in batches."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        self.log_z = corpus.log_z()  # (2, N)

    @cache  # noqa: B019 (it lives as long as the measurement)
    def batches(self, size: int) -> tuple[Tensor, Tensor]:
        """Rows (n,) of n pairs, and log Z (2, n) in their batches."""
        count = MEASURED * (len(self.corpus.image) // size)
        rows = list(self.corpus.batches(size, count, seed=0))
        return torch.cat(rows), torch.cat([self.corpus.log_z(part) for part in rows], dim=1)


def measure(truth: Truth, settings: AmorlipL2Log, case: Case) -> Result:
    rows, log_z = truth.batches(case.batch)
    estimate = _fitted(truth.corpus, settings, case)
    return Result(
        case=case.name,
        batch=case.batch,
        fits=case.fits,
        f_d=case.f_d,
        alpha=case.alpha,
        log_z_std=float(log_z.std(1).mean()),
        pairs=between(log_z, rows),
        corpus=explained(log_z, truth.log_z[:, rows], with_constant=True),
        networks=explained(log_z, estimate[:, rows]),
        networks_of_corpus=explained(truth.log_z, estimate, with_constant=True),
    )


def _fitted(corpus: Corpus, settings: AmorlipL2Log, case: Case) -> Tensor:
    """(2, N) log λ of the target networks after the fits, each to another batch."""
    width = corpus.image.shape[1]
    hidden = max(1, round(case.f_d * width))
    networks = AmortizationNetworks(width, hidden, lr=settings.lr, grad_clip=settings.grad_clip, world_size=1)
    networks.reinitialize(0)
    for step, rows in enumerate(corpus.batches(case.batch, case.fits, seed=1)):
        log_z = corpus.log_z(rows)
        if step == 0:
            networks.start_at(log_z.mean(1))
        networks.fit(corpus.image[rows], corpus.text[rows], log_z, l2_log, settings.t_lambda)
        if step % settings.t_target == 0:
            networks.update_target(case.alpha)
    return AmortizationNetworks.estimate(networks.target, corpus.image, corpus.text)


def explained(values: Tensor, estimates: Tensor, *, with_constant: bool = False) -> float:
    """1 - mean squared error / variance, of (2, n) each, mean of both modalities.

    `with_constant`: the best constant for each modality is added to the estimates first.
    """
    error = values - estimates
    squares = error.var(1, correction=0) if with_constant else error.square().mean(1)
    return float(1 - (squares / values.var(1, correction=0)).mean())


def between(values: Tensor, rows: Tensor) -> float:
    """The share of the variance of `values` (2, n) that lies between `rows` (n,), mean of both modalities.

    Estimated as in a one-way analysis of variance, which is not biased by the means of few values.
    """
    pairs, group, counts = rows.unique(return_inverse=True, return_counts=True)
    sums = torch.zeros(2, len(pairs), dtype=torch.float64).index_add_(1, group, values.double())
    means = sums / counts
    within = (values - means[:, group]).square().sum(1) / (len(rows) - len(pairs))
    grand = values.double().mean(1, keepdim=True)
    mean_square = (counts * (means - grand).square()).sum(1) / (len(pairs) - 1)
    typical_count = (len(rows) - counts.square().sum() / len(rows)) / (len(pairs) - 1)
    variance = (mean_square - within) / typical_count
    return float((variance / (variance + within)).mean())
