"""Evaluation sets from icon sets: new styles, new names, and both, in the layouts of the published sets."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from amorlip.common.errors import AmorlipError, one_line, unknown_key
from amorlip.common.images import open_image, to_rgb
from amorlip.common.stable_hash import stable_int
from amorlip.icons.artwork import HELDOUT_NAME, HELDOUT_SET, PICTURES, TRAIN
from amorlip.icons.captions import TEMPLATES, captions
from amorlip.icons.names import base_of
from amorlip.tasks.write import Labeled, write_classification, write_retrieval

MOST_IMAGES = 1000
"""Of a retrieval set, as in Flickr30k's test split."""
CAPTIONS_PER_IMAGE = 5


def build_task(builder: str, artwork: Path, output: Path) -> None:
    """Write the evaluation set `builder` (a key of BUILDERS) into `output` from the folder of the rendered icons.

    Raises AmorlipError for an unknown builder or artwork that lacks what the set needs.
    """
    if builder not in BUILDERS:
        raise AmorlipError(unknown_key(builder, BUILDERS, "task builder"))
    try:
        pictures = pd.read_parquet(artwork / PICTURES)
    except (OSError, ValueError) as error:
        raise AmorlipError(f"{artwork} holds no artwork ({one_line(error)}); run the stage `artwork` first") from error
    BUILDERS[builder](pictures, artwork, output)


def _heldout_sets(pictures: pd.DataFrame, artwork: Path, output: Path) -> None:
    """Training's names, drawn in sets that training never saw; a name once in each set."""
    trained = set(pictures.loc[pictures["role"] == TRAIN, "name"])
    chosen = pictures[(pictures["role"] == HELDOUT_SET) & pictures["name"].isin(trained)]
    chosen = _required(chosen.drop_duplicates(["set", "name"]), artwork, "of a held-out set with a name of training")
    names = sorted(set(chosen["name"]))
    position = {name: number for number, name in enumerate(names)}
    samples = (
        Labeled((artwork / picture).read_bytes(), "png", position[name])
        for picture, name in zip(chosen["picture"], chosen["name"], strict=True)
    )
    write_classification(output, names, TEMPLATES, samples)


def _heldout_names(pictures: pd.DataFrame, artwork: Path, output: Path) -> None:
    """Things that training never saw, in its sets."""
    _retrieval("heldout_names", pictures[pictures["role"] == HELDOUT_NAME], artwork, output)


def _heldout_both(pictures: pd.DataFrame, artwork: Path, output: Path) -> None:
    """Things that training never saw, in sets that it never saw."""
    known = {base_of(name) for name in pictures.loc[pictures["role"] == TRAIN, "name"]}
    chosen = pictures[(pictures["role"] == HELDOUT_SET) & ~pictures["name"].map(base_of).isin(known)]
    _retrieval("heldout_both", chosen, artwork, output)


def _retrieval(name: str, pictures: pd.DataFrame, artwork: Path, output: Path) -> None:
    """One picture of each name, with captions, for up to MOST_IMAGES names chosen by a hash."""
    order = [stable_int("picture", *row) for row in zip(pictures["set"], pictures["icon"], strict=True)]
    pictures = pictures.assign(order=order).sort_values("order")
    pictures = pictures.assign(base=pictures["name"].map(base_of)).drop_duplicates("base").head(MOST_IMAGES)
    pictures = _required(pictures, artwork, "with a held-out name")
    files = [f"{one}_{icon}.jpg" for one, icon in zip(pictures["set"], pictures["icon"], strict=True)]
    images = {file: _jpeg(artwork / picture) for file, picture in zip(files, pictures["picture"], strict=True)}
    columns = (pictures[column] for column in ("name", "style", "tags"))
    texts = [captions(name, style, list(tags), CAPTIONS_PER_IMAGE) for name, style, tags in zip(*columns, strict=True)]
    write_retrieval(output, name, images, dict(zip(files, texts, strict=True)))


def _required(pictures: pd.DataFrame, artwork: Path, which: str) -> pd.DataFrame:
    if pictures.empty:
        raise AmorlipError(f"{artwork}: there is no picture {which}, which this task needs")
    return pictures


def _jpeg(picture: Path) -> bytes:
    file = io.BytesIO()
    to_rgb(open_image(picture.read_bytes())).save(file, "JPEG", quality=95)
    return file.getvalue()


BUILDERS: dict[str, Callable[[pd.DataFrame, Path, Path], None]] = {
    "heldout_sets": _heldout_sets,
    "heldout_names": _heldout_names,
    "heldout_both": _heldout_both,
}
