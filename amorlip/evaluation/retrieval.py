"""Image-text retrieval in both directions.

Shape suffixes: Q queries, N items, B queries of a block, D embedding dimension.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from amorlip.config import Task
from amorlip.errors import AmorlipError
from amorlip.evaluation import bootstrap
from amorlip.evaluation.features import Encoder
from amorlip.evaluation.ranks import rank_of
from amorlip.evaluation.result import Result
from amorlip.evaluation.sets import RetrievalSet, open_retrieval

RECALLS = (1, 5, 10)
SCORES_AT_ONCE = 2**22


def evaluate(encoder: Encoder, task: Task, folder: Path) -> Result:
    """Score a set of images with captions. Raises AmorlipError where it is faulty or its size is not the task's."""
    data = open_retrieval(folder)
    images = len(data.keys)
    if task.samples is not None and images != task.samples:
        raise AmorlipError(f"{folder} has {images} images, the benchmark says {task.samples}")
    image_of = torch.tensor(data.image_of, device=encoder.device)
    image_features = torch.cat([features for features, _ in encoder.images(data.images.records)])
    text_features = encoder.texts(data.captions)
    own = torch.arange(images, device=encoder.device)
    # Named for what is retrieved, as clip_benchmark names them: a text asks for its image, an image for its texts.
    ranks = {
        "image": best_match_ranks(text_features, image_features, image_of, own).cpu().numpy(),
        "text": best_match_ranks(image_features, text_features, own, image_of).cpu().numpy(),
    }
    return Result(
        metrics=metrics(ranks["image"], ranks["text"]),
        samples=images,
        images=images,
        interval95=_interval(ranks, np.array(data.image_of), task.main_metric),
        rows=_rows(ranks, data),
    )


def best_match_ranks(
    queries_QD: torch.Tensor, items_ND: torch.Tensor, query_ids_Q: torch.Tensor, item_ids_N: torch.Tensor
) -> torch.Tensor:
    """Rank of each query's best-ranked matching item, (Q,), int64, 0 the best; items match where the ids are equal.

    Every query needs a match. Works in blocks of queries, so that no more than SCORES_AT_ONCE scores are held.
    """
    ranks = []
    block = max(1, SCORES_AT_ONCE // len(items_ND))
    for start in range(0, len(queries_QD), block):
        scores_BN = queries_QD[start : start + block] @ items_ND.T
        matches_BN = query_ids_Q[start : start + block, None] == item_ids_N
        best_B = scores_BN.masked_fill(~matches_BN, -torch.inf).argmax(dim=1)
        ranks.append(rank_of(scores_BN, best_B))
    return torch.cat(ranks)


def metrics(image_ranks: np.ndarray, text_ranks: np.ndarray) -> dict[str, float]:
    """recall@1, 5, 10 of images (one rank a text), of texts (one rank an image), and the mean of the two directions."""
    values = {}
    for k in RECALLS:
        image, text = float((image_ranks < k).mean()), float((text_ranks < k).mean())
        values[f"image_retrieval_recall@{k}"] = image
        values[f"text_retrieval_recall@{k}"] = text
        values[f"mean_recall@{k}"] = (image + text) / 2
    return values


def _interval(ranks: dict[str, np.ndarray], image_of: np.ndarray, metric: str) -> list[float] | None:
    """An image is resampled together with its captions, whose hits are not independent."""
    name, _, k = metric.partition("@")
    if name != "mean_recall":
        return None
    captions = np.bincount(image_of)
    found = np.bincount(image_of, weights=ranks["image"] < int(k))
    return bootstrap.of_ratios([(ranks["text"] < int(k), np.ones_like(captions)), (found, captions)])


def _rows(ranks: dict[str, np.ndarray], data: RetrievalSet) -> pd.DataFrame:
    keys = np.array(data.keys, dtype=object)
    texts = {"retrieved": "image", "key": keys[data.image_of], "caption": data.captions, "rank": ranks["image"]}
    images = {"retrieved": "text", "key": keys, "caption": None, "rank": ranks["text"]}
    rows = pd.concat([pd.DataFrame(texts), pd.DataFrame(images)], ignore_index=True)
    rows["correct"] = rows["rank"] == 0
    return rows
