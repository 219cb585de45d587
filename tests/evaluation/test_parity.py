"""The same files give clip_benchmark 1.6.2's numbers, with its own reader, classifier and recalls."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from amorlip.evaluation import score
from amorlip.evaluation.features import Encoder

builder = pytest.importorskip("clip_benchmark.datasets.builder")
zeroshot_classification = pytest.importorskip("clip_benchmark.metrics.zeroshot_classification")
zeroshot_retrieval = pytest.importorskip("clip_benchmark.metrics.zeroshot_retrieval")

COUNT = 90


def loader(folder, toy, **options):
    data = builder.build_wds_dataset("miniature", toy.preprocess, data_dir=str(folder))
    batches = DataLoader(data.batched(16, **options), batch_size=None)
    batches.classes, batches.templates = data.classes, data.templates
    return batches


def ours(toy, spec, folder):
    encoder = Encoder(toy.model, toy.preprocess, toy.tokenizer, torch.device("cpu"), "float32", 16, workers=0)
    return score.evaluate(encoder, spec, folder).metrics


@pytest.mark.parametrize("classes", [4, 7])
@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_classification(toy, sets, task, tmp_path, classes, kind):
    """Accuracies and balanced accuracy; clip_benchmark, too, has no top five of fewer than five classes."""
    labels = np.random.default_rng(3).choice(classes - 1, size=COUNT)  # the last class has no samples
    names = [f"thing {n}" for n in range(classes)]
    sets.classification(tmp_path, sets.pictures(COUNT), list(labels), names, ["a {c}", "{c}."], shards=2, kind=kind)
    toy.model.eval()
    peer = loader(tmp_path, toy)
    classifier = zeroshot_classification.zero_shot_classifier(
        toy.model, toy.tokenizer, peer.classes, peer.templates, "cpu", amp=False
    )
    scores, target = zeroshot_classification.run_classification(toy.model, classifier, peer, "cpu", amp=False)
    found = ours(toy, task("classification", "acc1"), tmp_path)
    # its own last step, `accuracy`, is refused by numpy 2.4; this is what it counts
    hits = scores.topk(min(5, classes), dim=1).indices == target[:, None]
    assert found["acc1"] == pytest.approx(hits[:, 0].double().mean().item(), abs=1e-6)
    assert ("acc5" in found) == (classes >= 5)
    if classes >= 5:
        assert found["acc5"] == pytest.approx(hits.any(dim=1).double().mean().item(), abs=1e-6)
    balanced = zeroshot_classification.balanced_accuracy_score(target, scores.argmax(dim=1))
    assert found["mean_per_class_recall"] == pytest.approx(balanced, abs=1e-6)
    assert 0 < found["acc1"] < 1


def test_retrieval(toy, sets, task, tmp_path):
    captions = [[f"word {image} {number}" for number in range(1 + image % 5)] for image in range(COUNT)]
    sets.retrieval(tmp_path, sets.pictures(COUNT), captions)
    (tmp_path / "dataset_type.txt").write_text("retrieval")
    toy.model.eval()
    peer = loader(tmp_path, toy, collation_fn=builder.image_captions_collate_fn)
    expected = zeroshot_retrieval.evaluate(toy.model, peer, toy.tokenizer, "cpu", amp=False, recall_k_list=[1, 5, 10])
    found = ours(toy, task("retrieval", "mean_recall@1"), tmp_path)
    assert {key: found[key] for key in expected} == pytest.approx(expected, abs=1e-6)
    for k in (1, 5, 10):
        both = expected[f"image_retrieval_recall@{k}"] + expected[f"text_retrieval_recall@{k}"]
        assert found[f"mean_recall@{k}"] == pytest.approx(both / 2, abs=1e-6)


def test_recall_counts_an_image_once_however_many_of_its_captions_are_found():
    """clip_benchmark divides by the number of captions, then asks only whether the result is above zero."""
    from amorlip.evaluation.retrieval import metrics, ranks_in_both_directions

    images = torch.eye(12)
    texts = images.repeat_interleave(3, dim=0) + 0.01 * torch.arange(36)[:, None] / 36
    positive = torch.arange(36)[:, None] // 3 == torch.arange(12)
    recall = zeroshot_retrieval.recall_at_k((texts @ images.T).T, positive.T, 1)
    assert recall.max() == pytest.approx(1 / 3)
    ranks = ranks_in_both_directions(texts, images, torch.arange(36) // 3)
    assert metrics(*(values.numpy() for values in ranks))["text_retrieval_recall@1"] == 1.0
