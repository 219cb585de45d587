"""WinoGAViL's game: which of the candidate images belong to the cue?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from amorlip.common.errors import AmorlipError
from amorlip.config.benchmark import TaskDefinition
from amorlip.evaluation import bootstrap
from amorlip.evaluation.features import Encoder
from amorlip.evaluation.result import Result
from amorlip.tasks.read import AssociationSet, open_association

SIZES = {"jaccard_score_5-6": (5, 6), "jaccard_score_10-12": (10, 12)}
"""Metric → numbers of candidates of the rounds it averages."""


def evaluate(encoder: Encoder, task: TaskDefinition, folder: Path) -> Result:
    """Play all rounds; every distinct image is encoded once.

    Raises AmorlipError if the set is faulty or its number of rounds is not the task's.
    """
    data = open_association(folder)
    if task.samples is not None and len(data.rounds) != task.samples:
        raise AmorlipError(f"{folder} has {len(data.rounds)} rounds, the benchmark expects {task.samples}")
    images = torch.cat([features for features, _ in encoder.images(data.images.records, task.transparency)])
    cues = encoder.texts([prompt(play.cue) for play in data.rounds])
    choices, scores_of = [], []
    for cue, play in zip(cues, data.rounds, strict=True):
        similarities = (images[torch.tensor(play.candidates, device=images.device)] @ cue).cpu().numpy()
        choices.append(choose(similarities, np.array(play.associated)))
        scores_of.append(similarities.tolist())
    scores = np.array([jaccard(play.associated, choice) for play, choice in zip(data.rounds, choices, strict=True)])
    sizes = np.array([len(play.candidates) for play in data.rounds])
    return Result(
        metrics=metrics(scores, sizes),
        samples=len(data.rounds),
        images=len(images),
        interval95=_interval(scores, sizes, task.main_metric),
        rows=_rows(data, choices, scores).assign(**({"scores": scores_of} if encoder.full else {})),
    )


def prompt(cue: str) -> str:
    """The cue in lower case after "A", or after "An" if it begins with a, e, i, o or u, as in DataComp's evaluation."""
    cue = cue.lower()
    return f"An {cue}" if cue[0] in "aeiou" else f"A {cue}"


def choose(similarities: np.ndarray, associated: np.ndarray) -> np.ndarray:
    """The candidates with the highest similarities, as many as are associated: (n,), booleans.

    Among equal similarities, candidates that are not associated come first: a model that scores all images alike must
    not profit from the order in which a set lists them.
    """
    order = np.lexsort((associated, -similarities))
    chosen = np.zeros(len(similarities), dtype=bool)
    chosen[order[: associated.sum()]] = True
    return chosen


def jaccard(associated: Sequence[bool], chosen: np.ndarray) -> float:
    """Size of the intersection over size of the union."""
    # scikit-learn's function spends more time on its checks than the model on the images.
    return np.logical_and(associated, chosen).sum() / np.logical_or(associated, chosen).sum()


def metrics(scores: np.ndarray, sizes: np.ndarray) -> dict[str, float]:
    """Mean Jaccard index over all rounds, and over the rounds of each entry of SIZES that occurs.

    scores, sizes: (rounds,), the Jaccard index and the number of candidates. DataComp's main metric is the mean over
    rounds with 10 or 12 candidates.
    """
    chosen = {name: np.isin(sizes, of) for name, of in SIZES.items()}
    return {
        "jaccard_score": float(scores.mean()),
        **{name: float(scores[rows].mean()) for name, rows in chosen.items() if rows.any()},
    }


def _interval(scores: np.ndarray, sizes: np.ndarray, metric: str) -> list[float] | None:
    chosen = scores[np.isin(sizes, SIZES[metric])] if metric in SIZES else scores
    return bootstrap.of_ratios([(chosen, np.ones(len(chosen)))]) if len(chosen) else None


def _rows(data: AssociationSet, choices: list[np.ndarray], scores: np.ndarray) -> pd.DataFrame:
    names = np.array(data.names, dtype=object)
    return pd.DataFrame(
        {
            "cue": [play.cue for play in data.rounds],
            "candidates": [names[play.candidates].tolist() for play in data.rounds],
            "associated": [play.associated for play in data.rounds],
            "chosen": [choice.tolist() for choice in choices],
            "jaccard": scores,
        }
    )
