"""Image-text retrieval in both directions.

Shape suffixes: T texts, I images, Q queries, N items, B queries of a block, D embedding dimension.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from amorlip.common.errors import AmorlipError
from amorlip.common.matmul import matmul
from amorlip.config.benchmark import TaskDefinition
from amorlip.evaluation import bootstrap
from amorlip.evaluation.features import Encoder
from amorlip.evaluation.positions import rank_of
from amorlip.evaluation.result import Result
from amorlip.tasks.read import RetrievalSet, open_retrieval

RECALLS = (1, 5, 10)
SCORES_AT_ONCE = 2**20
SCORES_KEPT = 2**28
"""1 GiB of scores."""


def evaluate(encoder: Encoder, task: TaskDefinition, folder: Path) -> Result:
    """Score a set of images with captions. Raises AmorlipError if it is faulty or its size is not the task's."""
    data = open_retrieval(folder)
    images = len(data.keys)
    if task.samples is not None and images != task.samples:
        raise AmorlipError(f"{folder} has {images} images, the benchmark expects {task.samples}")
    image_of = torch.tensor(data.image_of, device=encoder.device)
    image_features = torch.cat([features for features, _ in encoder.images(data.images.records, task.transparency)])
    text_features = encoder.texts(data.captions)
    image_ranks, text_ranks = ranks_in_both_directions(text_features, image_features, image_of)
    # Named for what is retrieved, as in clip_benchmark: "image" is the ranking of images for a text.
    ranks = {"image": image_ranks.cpu().numpy(), "text": text_ranks.cpu().numpy()}
    rows = _rows(ranks, data)
    if encoder.full:
        rows = rows.join(_best(text_features, image_features))
    return Result(
        metrics=metrics(ranks["image"], ranks["text"]),
        samples=images,
        images=images,
        interval95=_interval(ranks, np.array(data.image_of), task.main_metric),
        rows=rows,
    )


def ranks_in_both_directions(
    texts_TD: torch.Tensor, images_ID: torch.Tensor, image_of_T: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ranks as from `best_match_ranks`: of each text's image (T,), and of each image's best text (I,).

    One matrix product serves both directions: a text's rank is counted along its row of scores, an image's along its
    column, once the score of its best text is known. Up to SCORES_KEPT scores are kept for this second pass; more are
    computed again. Queries whose best score occurs more than once are ranked by `best_match_ranks`.
    """
    own_I = torch.arange(len(images_ID), device=image_of_T.device)
    step = max(1, SCORES_AT_ONCE // len(images_ID))
    parts = [slice(start, start + step) for start in range(0, len(texts_TD), step)]
    keep = len(texts_TD) * len(images_ID) <= SCORES_KEPT
    kept, own, found = [], [], []
    for part in parts:
        scores_BI = matmul(texts_TD[part], images_ID.T)
        own_B1 = scores_BI.gather(1, image_of_T[part, None])
        own.append(own_B1[:, 0])
        found.append(_above_and_level(scores_BI, own_B1, dim=1))
        kept += [scores_BI] if keep else []
    image_ranks_T, level_T = (torch.cat(counts) for counts in zip(*found, strict=True))
    best_I = torch.full((len(images_ID),), -torch.inf, device=texts_TD.device, dtype=own[0].dtype)
    best_I.scatter_reduce_(0, image_of_T, torch.cat(own), "amax")
    text_ranks_I, level_I = torch.zeros_like(own_I), torch.zeros_like(own_I)
    for number, part in enumerate(parts):
        scores_BI = kept[number] if keep else matmul(texts_TD[part], images_ID.T)
        above, level = _above_and_level(scores_BI, best_I, dim=0)
        text_ranks_I += above
        level_I += level
    if len(tied := (level_T > 1).nonzero()[:, 0]):
        image_ranks_T[tied] = best_match_ranks(texts_TD[tied], images_ID, image_of_T[tied], own_I)
    if len(tied := (level_I > 1).nonzero()[:, 0]):
        text_ranks_I[tied] = best_match_ranks(images_ID[tied], texts_TD, own_I[tied], image_of_T)
    return image_ranks_T, text_ranks_I


def _above_and_level(scores: torch.Tensor, threshold: torch.Tensor, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """How many scores along `dim` are above the threshold, and how many are equal to it; int64."""
    marks = torch.empty_like(scores)  # floats: a sum of booleans takes four times as long
    above = torch.gt(scores, threshold, out=marks).sum(dim).long()
    return above, torch.ge(scores, threshold, out=marks).sum(dim).long() - above


def best_match_ranks(
    queries_QD: torch.Tensor, items_ND: torch.Tensor, query_ids_Q: torch.Tensor, item_ids_N: torch.Tensor
) -> torch.Tensor:
    """Rank of each query's best-ranked matching item: (Q,), int64; 0 is the best. Items match if the ids are equal.

    Every query needs a match. At most about SCORES_AT_ONCE scores are in memory.
    """
    ranks = []
    block = max(1, SCORES_AT_ONCE // len(items_ND))
    for start in range(0, len(queries_QD), block):
        scores_BN = matmul(queries_QD[start : start + block], items_ND.T)
        matches_BN = query_ids_Q[start : start + block, None] == item_ids_N
        best_B = scores_BN.masked_fill(~matches_BN, -torch.inf).argmax(dim=1)
        ranks.append(rank_of(scores_BN, best_B))
    return torch.cat(ranks)


def _best(texts_TD: torch.Tensor, images_ID: torch.Tensor) -> pd.DataFrame:
    """Columns for the rows of both directions: positions and scores of the ten best items, or fewer."""
    positions: list[np.ndarray] = []
    scores: list[np.ndarray] = []
    for queries, items in ((texts_TD, images_ID), (images_ID, texts_TD)):
        step = max(1, SCORES_AT_ONCE // len(items))
        for start in range(0, len(queries), step):
            found = matmul(queries[start : start + step], items.T).topk(min(RECALLS[-1], len(items)), dim=1)
            positions += list(found.indices.cpu().numpy())
            scores += list(found.values.cpu().numpy())
    return pd.DataFrame({"best": positions, "scores": scores})


def metrics(image_ranks: np.ndarray, text_ranks: np.ndarray) -> dict[str, float]:
    """recall@1, 5 and 10 of images (one rank per text) and of texts (one rank per image), and their means.

    DataComp's main metric for Flickr30k and COCO is the mean of both directions at 1.
    """
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
