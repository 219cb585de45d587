"""The model card of an exported run: how to load it, what it scores, how it was trained, and under which licenses."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import yaml

from amorlip.config.corpus import Corpus
from amorlip.config.load import read_yaml, validate
from amorlip.config.run import Run
from amorlip.evaluation.record import Evaluation
from amorlip.reporting.markdown import escape
from amorlip.training.records import Provenance

CORPORA = Path(__file__).parents[2] / "config" / "corpora"
TRAINED_ON = ("style", "names")
"""Roles of the packages whose pictures and names are in the training split."""

TEXT = """\
---
library_name: open_clip
pipeline_tag: zero-shot-image-classification
license: other
license_name: those-of-the-training-data
tags:
- clip
- amorlip
---

# {run.recipe.model} trained with {run.method} on {run.recipe.corpus}

A contrastive image-text model, trained from scratch with the `amorlip` workflow: scale
`{run.scale}`, method `{run.method}`{variant}, seed {run.seed}.

## Use

```python
import open_clip
import torch
from PIL import Image

model, _, preprocess = open_clip.create_model_and_transforms("local-dir:{folder}")
tokenizer = open_clip.get_tokenizer("local-dir:{folder}")
model.eval()

names = ["a dog", "a cat"]
with torch.no_grad():
    image = model.encode_image(preprocess(Image.open("picture.jpg"))[None], normalize=True)
    text = model.encode_text(tokenizer(names), normalize=True)
    print(dict(zip(names, (model.logit_scale.exp() * image @ text.T).softmax(-1)[0].tolist())))
```

## Scores

{scores}

## Training

- Pairs: {provenance.corpus.pairs:,} of the corpus `{provenance.corpus.name}` (digest `{provenance.corpus.digest}`)
- Steps: {provenance.steps:,}, {provenance.samples_seen:,} pairs seen, {provenance.training_seconds:,.0f} s on \
{provenance.device} ({provenance.ranks} process(es))
- Code: {revisions}
- `run.yaml` and `provenance.json` in this folder have the complete recipe and all versions.

```yaml
{recipe}```

## Licenses

{licenses}

Use it for research only, not for decisions about people.
"""


class Card(NamedTuple):
    """What a card is made from."""

    run: Run
    provenance: Provenance
    evaluations: Iterable[Evaluation]
    folder: str
    """The name of the exported folder."""


def model_card(card: Card) -> str:
    """The card as Markdown, with the metadata block that the Hugging Face Hub reads."""
    recipe = card.run.model_dump(mode="json", include={"objective", "settings", "recipe"})
    return TEXT.format(
        run=card.run,
        provenance=card.provenance,
        folder=card.folder,
        variant=f", variant `{card.run.variant}`" if card.run.variant else "",
        scores=_scores(card.evaluations),
        revisions=_revisions(card.provenance),
        recipe=yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True),
        licenses=_licenses(card.run.recipe.corpus),
    )


def _scores(evaluations: Iterable[Evaluation]) -> str:
    rows = [
        f"| {one.task} | {one.main_metric} | {100 * one.value:.2f} |" for one in evaluations if one.value is not None
    ]
    if not rows:
        return "Not evaluated yet."
    return "\n".join(["Zero-shot, in percent.", "", "| Task | Metric | Score |", "|---|---|---:|", *rows])


def _revisions(provenance: Provenance) -> str:
    found = [f"`{start.git_revision}` from step {start.from_step}" for start in provenance.starts]
    return ", ".join(found) or "the revision was not recorded"


def _licenses(corpus: str) -> str:
    """The licenses of a corpus of emoji or icon packages, from its file; for other corpora a sentence."""
    path, rows = CORPORA / f"{corpus}.yaml", []
    described = validate(Corpus, read_yaml(path), str(path)) if path.is_file() else None
    for name, package in described.emoji.packages.items() if described and described.emoji else ():
        if package.role in TRAINED_ON:
            rows.append(f"- `{name}` {package.version}: {escape(package.license)}")
    if described and (icons := described.icons):
        rows.append(f"- icon sets of `{icons.package}` {icons.version}: {escape(', '.join(icons.licenses))}")
    text = "The code is under the Apache License 2.0. The weights are derived from the training data"
    if not rows:
        return f"{text}; its images and captions have their own licenses, which this folder does not list."
    return "\n".join([f"{text}, whose packages have these licenses:", "", *rows])
