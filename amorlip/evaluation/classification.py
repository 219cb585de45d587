"""Zero-shot classification, also with groups.

Shape suffixes: B batch, C classes, D embedding dimension.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from amorlip.common.errors import AmorlipError
from amorlip.common.transparency import Transparency
from amorlip.config.benchmark import TaskDefinition
from amorlip.evaluation import bootstrap, groups
from amorlip.evaluation.features import Encoder
from amorlip.evaluation.positions import rank_of
from amorlip.evaluation.result import Result
from amorlip.tasks.read import ClassificationSet, open_classification


@dataclass(frozen=True)
class Predictions:
    """What the metrics need to know about every image, in the order of the set."""

    keys: list[str]
    labels: np.ndarray
    """(n,), int64."""
    predictions: np.ndarray
    """(n,), int64: the class of the highest score."""
    ranks: np.ndarray
    """(n,), int64: rank of the true class; 0 is the best."""
    metadata: np.ndarray
    """(n, columns), int64."""
    classes: int
    scores: np.ndarray | None = None
    """(n, classes), float32: cosine similarities; None without `Encoder.full`."""

    def hits(self) -> dict[str, np.ndarray]:
        """Whether every sample counts for acc1, and from five classes on for acc5: (n,), booleans."""
        return {f"acc{k}": self.ranks < k for k in (1, 5) if self.classes >= k}


def evaluate(encoder: Encoder, task: TaskDefinition, folder: Path) -> Result:
    """Score a set in the classification layout in one pass over its images.

    Raises AmorlipError if the set is faulty or its size is not the task's.
    """
    data = open_classification(folder, task)
    predictions = predict(encoder, data, task.transparency, shared=task.shared_images)
    samples = len(predictions.labels)
    if task.samples is not None and samples != task.samples:
        raise AmorlipError(f"{folder / 'test'} has {samples} samples, the benchmark expects {task.samples}")
    by_group = None
    values = metrics(predictions)
    if task.group_by is not None:
        column = predictions.metadata[:, task.metadata.index(task.group_by)]
        by_group = groups.by_group(column, predictions.hits())
        values |= group_metrics(by_group, task.group_by)
    return Result(
        metrics=values,
        samples=samples,
        images=samples,
        interval95=_interval(predictions, task.main_metric),
        rows=_rows(predictions, task.metadata),
        classes=predictions.classes,
        groups=by_group,
        per_class=_per_class(predictions),
    )


def predict(
    encoder: Encoder, data: ClassificationSet, transparency: Transparency = "white", *, shared: bool = False
) -> Predictions:
    """Classify every image by the nearest class embedding. Raises AmorlipError for a set without samples."""
    classes_DC = encoder.classes(data.names, data.templates).T
    keys: list[str] = []
    parts, scores = [], []
    for features_BD, batch in encoder.images(data.records, transparency, shared=shared):
        scores_BC = features_BD @ classes_DC
        ranks_B = rank_of(scores_BC, batch.labels.to(scores_BC.device))
        parts.append((batch.labels, scores_BC.argmax(dim=1).cpu(), ranks_B.cpu(), batch.metadata))
        keys += batch.keys
        scores += [scores_BC.cpu().numpy()] if encoder.full else []
    if not parts:
        raise AmorlipError(f"{data.shards[0].parent}: the shards hold no samples; download the set again")
    labels, predicted, ranks, metadata = (torch.cat(part).numpy() for part in zip(*parts, strict=True))
    all_scores = np.concatenate(scores) if scores else None
    return Predictions(keys, labels, predicted, ranks, metadata, len(data.names), all_scores)


def metrics(predictions: Predictions) -> dict[str, float]:
    """acc1, acc5 (from five classes on), and recall and F1 averaged over the classes present in the labels.

    These two only average over classes that occur in the labels, as the wilds package (FMoW, iWildCam) and DataComp
    do: a class without samples has no recall.
    """
    labels, predicted = predictions.labels, predictions.predictions
    present, positions = np.unique(labels, return_inverse=True)
    count, found = np.bincount(positions), np.bincount(positions, weights=predicted == labels)
    times_predicted = np.bincount(predicted, minlength=present[-1] + 1)[present]
    return {
        **{name: float(hit.mean()) for name, hit in predictions.hits().items()},
        "mean_per_class_recall": float((found / count).mean()),
        "F1-macro_all": float((2 * found / (count + times_predicted)).mean()),
    }


def group_metrics(by_group: dict[str, dict[str, float]], column: str) -> dict[str, float]:
    """The smallest accuracy over the groups with samples: top-1 (under two names) and, from five classes on, top-5.

    DataComp reports `acc_worst_region` for FMoW and `acc_wg` or `acc_top5_wg` for the other sets with groups.
    """
    worst = groups.worst(by_group, "acc1")
    values = {"acc_wg": worst, f"acc_worst_{column}": worst}
    if all("acc5" in group for group in by_group.values()):
        values["acc_top5_wg"] = groups.worst(by_group, "acc5")
    return values


def _interval(predictions: Predictions, metric: str) -> list[float] | None:
    if metric in predictions.hits():
        hits = predictions.hits()[metric]
        return bootstrap.of_rates(np.array([hits.sum()]), np.array([len(hits)]))
    if metric == "mean_per_class_recall":
        counts = _per_class(predictions)
        return bootstrap.of_rates(np.array(counts["correct"]), np.array(counts["count"]))
    return None


def _per_class(predictions: Predictions) -> dict[str, list[int]]:
    count = np.bincount(predictions.labels, minlength=predictions.classes)
    correct = np.bincount(predictions.labels[predictions.ranks == 0], minlength=predictions.classes)
    return {"count": count.tolist(), "correct": correct.tolist()}


def _rows(predictions: Predictions, columns: list[str]) -> pd.DataFrame:
    rows = pd.DataFrame(
        {
            "key": predictions.keys,
            "label": predictions.labels,
            "prediction": predictions.predictions,
            "rank": predictions.ranks,
            "correct": predictions.ranks == 0,
        }
    )
    if predictions.scores is not None:
        rows["scores"] = list(predictions.scores)
    for position, column in enumerate(columns):
        rows[f"metadata_{column}"] = predictions.metadata[:, position]
    return rows
