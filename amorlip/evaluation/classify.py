"""Zero-shot classification of one's own pictures, by a model exported to a folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from amorlip import models
from amorlip.common.errors import AmorlipError
from amorlip.evaluation.features import Encoder
from amorlip.tasks.read import LabeledImage

TEMPLATE = "a photo of a {c}."
BATCH_SIZE = 64


def classify(
    model: Path, names: Sequence[str], pictures: Sequence[Path], templates: Sequence[str] = (TEMPLATE,)
) -> Iterator[tuple[Path, list[tuple[str, float]]]]:
    """For each picture, in order: the picture, and each name with its probability, the most probable first.

    The probabilities are the softmax of the cosine similarities times the model's logit scale, so they sum to 1 over
    `names`, whatever the picture shows. `templates` hold `{c}` in place of a name; class embeddings are averages over
    them, as in evaluations. The pictures are decoded as in evaluations, transparent ones on white.
    Raises AmorlipError for a faulty folder, picture, name or template.
    """
    _check(names, templates, pictures)
    loaded = models.load_folder(model)
    encoder = Encoder(
        loaded.network, loaded.preprocess, loaded.tokenizer, torch.device("cpu"), "float32", BATCH_SIZE, workers=0
    )
    scale = cast(Tensor, loaded.network.logit_scale).detach().exp()
    classes_DC = encoder.classes(names, templates).T

    def records() -> Iterator[LabeledImage]:
        for picture in pictures:
            yield LabeledImage(str(picture), str(picture), picture.read_bytes)

    for features_BD, batch in encoder.images(records, "white"):
        probabilities_BC = (scale * features_BD @ classes_DC).softmax(dim=-1)
        for key, row_C in zip(batch.keys, probabilities_BC, strict=True):
            order = row_C.argsort(descending=True, stable=True).tolist()
            yield Path(key), [(names[i], row_C[i].item()) for i in order]


def _check(names: Sequence[str], templates: Sequence[str], pictures: Sequence[Path]) -> None:
    if len(names) < 2 or len(set(names)) < len(names) or not all(names):
        raise AmorlipError(f"--names {','.join(names)}: give two or more different names, separated by commas")
    for template in templates:
        if "{c}" not in template:
            raise AmorlipError(f"--template '{template}' has no {{c}}, the place of the name")
    for picture in pictures:
        if not picture.is_file():
            raise AmorlipError(f"{picture} is not a file")
