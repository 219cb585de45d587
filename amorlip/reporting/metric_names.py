"""Names of metrics that readers see."""

from __future__ import annotations

METRICS = {
    "acc1": "top-1 accuracy",
    "acc5": "top-5 accuracy",
    "mean_per_class_recall": "mean per-class recall",
    "mean_recall@1": "mean recall@1",
    "mean_recall@5": "mean recall@5",
    "jaccard_score": "Jaccard score",
    "jaccard_score_10-12": "Jaccard score, 10-12 candidates",
    "acc_wg": "accuracy of the worst group",
    "acc_top5_wg": "top-5 accuracy of the worst group",
    "acc_worst_region": "accuracy of the worst region",
    "F1-macro_all": "macro F1",
}
"""Metric → its name on axes and in notes."""

SHORT = {
    "acc1": "top-1",
    "acc5": "top-5",
    "mean_per_class_recall": "recall per class",
    "mean_recall@1": "recall@1",
    "mean_recall@5": "recall@5",
    "jaccard_score": "Jaccard",
    "jaccard_score_10-12": "Jaccard 10-12",
    "acc_wg": "worst group",
    "acc_top5_wg": "worst group, top-5",
    "acc_worst_region": "worst region",
    "F1-macro_all": "macro F1",
}
"""Metric → its name under the heading of a table's column."""


def metric_name(metric: str) -> str:
    """The metric's name; metrics without one are shown as they are."""
    return METRICS.get(metric, metric)


def short_name(metric: str) -> str:
    """The metric's short name; metrics without one are shown as they are."""
    return SHORT.get(metric, metric)
