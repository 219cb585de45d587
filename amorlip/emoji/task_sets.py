"""The demo's evaluation sets, built from the emoji artwork in the layouts of the published ones."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from amorlip.common.errors import AmorlipError, one_line, unknown_key
from amorlip.common.images import open_image, to_rgb
from amorlip.common.stable_hash import stable_int
from amorlip.emoji.artwork import PICTURES
from amorlip.emoji.captions import TEMPLATES, captions
from amorlip.emoji.handdrawn import read_digits, read_sketches, sketch_classes
from amorlip.emoji.names import slug
from amorlip.emoji.records import PACKAGES, PackagesRecord
from amorlip.tasks.write import Labeled, Round, write_association, write_classification, write_retrieval

SKETCHES_PER_CLASS = 20
SKETCH_TEMPLATES = ("{c}", "a drawing of {c}", "a sketch of {c}")
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
DIGIT_TEMPLATES = ("{c}", "the number {c}", "a drawing of the digit {c}")
EVERY_DIGIT = 5
"""Every fifth of MNIST's 10,000 test digits is used: the task takes seconds, and 2,000 digits resolve 3 points."""
RETRIEVAL_STYLE = "twemoji"
CAPTIONS_PER_IMAGE = 5
ROUNDS = 400
ROUND_SIZES = (5, 10, 12, 6, 10, 12)
"""Candidates of successive rounds; the published main metric looks at those with 10 or 12."""


def build_task(builder: str, artwork: Path, output: Path) -> None:
    """Write the evaluation set `builder` (a key of BUILDERS) into `output` from the folder `emoji.build_artwork` made.

    Raises AmorlipError for an unknown builder or artwork that lacks what the set needs.
    """
    if builder not in BUILDERS:
        raise AmorlipError(unknown_key(builder, BUILDERS, "task builder"))
    BUILDERS[builder](Artwork(artwork), output)


ADVICE = "run the stage `artwork` first"


class Artwork:
    """The rendered pictures and the packages next to them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.pictures = pd.read_parquet(folder / PICTURES)
        except (OSError, ValueError) as error:
            raise AmorlipError(
                f"{folder} holds no artwork ({one_line(error)}); run the stage `artwork` first"
            ) from error
        packages = PackagesRecord.read(folder / PACKAGES, ADVICE).root
        self._packages = {entry.role: folder / "packages" / entry.package for entry in packages}
        self.train_names = set(self.pictures.loc[self.pictures["role"] == "train", "name"])

    def package(self, role: str) -> Path:
        if role not in self._packages:
            raise AmorlipError(
                f"{self.folder}: the emoji source has no package with role '{role}', which this task needs"
            )
        return self._packages[role]

    def of_style(self, style: str) -> pd.DataFrame:
        """The pictures in `style`, in a fixed order."""
        chosen = self.pictures[self.pictures["style"] == style].sort_values("hexcode")
        if chosen.empty:
            raise AmorlipError(f"{self.folder}: there are no pictures in the style '{style}', which this task needs")
        return chosen

    def seen(self, pictures: pd.DataFrame) -> pd.DataFrame:
        """Those of `pictures` whose name occurs in training, in another style."""
        return pictures[pictures["name"].isin(self.train_names)]

    def heldout_instances(self) -> pd.DataFrame:
        """Withheld (style, name) pairs of the training styles."""
        chosen = self.seen(self.pictures[self.pictures["role"] == "heldout_instance"])
        return chosen.sort_values(["hexcode", "style"])

    def read(self, picture: str) -> bytes:
        return (self.folder / picture).read_bytes()

    def jpeg(self, picture: str) -> bytes:
        file = io.BytesIO()
        to_rgb(open_image(self.read(picture))).save(file, "JPEG", quality=95)
        return file.getvalue()


def _openmoji(artwork: Artwork, output: Path) -> None:
    _names_in_style(artwork, "openmoji", output)


def _fluent_3d(artwork: Artwork, output: Path) -> None:
    _names_in_style(artwork, "fluent_3d", output)


def _names_in_style(artwork: Artwork, style: str, output: Path) -> None:
    """Training names, drawn in a style that training never saw."""
    pictures = artwork.seen(artwork.of_style(style))
    _write(output, list(pictures["name"]), artwork, pictures, pictures["name"])


def _heldout_instances(artwork: Artwork, output: Path) -> None:
    """Training names in training styles, but drawings that were withheld."""
    pictures = artwork.heldout_instances()
    _write(output, list(dict.fromkeys(pictures["name"])), artwork, pictures, pictures["name"])


def _subgroups(artwork: Artwork, output: Path) -> None:
    """Unicode's subgroups as classes, all names, in a held-out style."""
    pictures = artwork.of_style("openmoji")
    labels = pictures["subgroup"].str.replace("-", " ")
    _write(output, sorted(set(labels)), artwork, pictures, labels)


def _styles(artwork: Artwork, output: Path) -> None:
    """Withheld drawings of the training styles and all of both held-out styles, of the same names, grouped by style."""
    instances = artwork.heldout_instances()
    styles = sorted(set(artwork.pictures["style"]))
    shifted = [artwork.of_style("openmoji"), artwork.of_style("fluent_3d")]
    common = set(instances["name"]).intersection(*(pictures["name"] for pictures in shifted))
    pictures = pd.concat([instances, *shifted])
    pictures = pictures[pictures["name"].isin(common)]
    metadata = [(styles.index(style),) for style in pictures["style"]]
    _write(output, list(dict.fromkeys(pictures["name"])), artwork, pictures, pictures["name"], metadata)


def _write(
    output: Path,
    names: list[str],
    artwork: Artwork,
    pictures: pd.DataFrame,
    labels: Iterable[str],
    metadata: Sequence[tuple[int, ...]] | None = None,
) -> None:
    position = {name: number for number, name in enumerate(names)}
    groups = metadata or [()] * len(pictures)
    samples = (
        Labeled(artwork.read(picture), "png", position[label], group)
        for picture, label, group in zip(pictures["picture"], labels, groups, strict=True)
    )
    write_classification(output, names, TEMPLATES, samples)


def _quickdraw(artwork: Artwork, output: Path) -> None:
    """Human sketches of things that have an emoji with the same name in training."""
    known = {name.lower() for name in artwork.train_names}
    files = {name: path for name, path in sketch_classes(artwork.package("sketches")).items() if name.lower() in known}
    samples = (
        Labeled(_png(sketch), "png", label)
        for label, path in enumerate(files.values())
        for sketch in read_sketches(path, SKETCHES_PER_CLASS)
    )
    write_classification(output, list(files), SKETCH_TEMPLATES, samples)


def _digits(artwork: Artwork, output: Path) -> None:
    """Handwritten digits."""
    images, labels = read_digits(artwork.package("digits"))
    chosen = zip(images[::EVERY_DIGIT], labels[::EVERY_DIGIT], strict=True)
    samples = (Labeled(_png(image), "png", int(label)) for image, label in chosen)
    write_classification(output, DIGITS, DIGIT_TEMPLATES, samples)


def _png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).convert("RGB").save(file, "PNG")
    return file.getvalue()


def _heldout_names(artwork: Artwork, output: Path) -> None:
    """Images and captions of things that training never saw, in one of its styles."""
    pictures = artwork.of_style(RETRIEVAL_STYLE)
    pictures = pictures[pictures["role"] == "heldout_name"]
    files = [f"{hexcode.lower()}.jpg" for hexcode in pictures["hexcode"]]
    images = {file: artwork.jpeg(picture) for file, picture in zip(files, pictures["picture"], strict=True)}
    texts = {
        file: captions(name, list(tags), CAPTIONS_PER_IMAGE)
        for file, name, tags in zip(files, pictures["name"], pictures["tags"], strict=True)
    }
    write_retrieval(output, "heldout_names", images, texts)


def _association(artwork: Artwork, output: Path) -> None:
    """Which pictures carry the tag? WinoGAViL's game with human tags as cues, in a held-out style."""
    pictures = artwork.seen(artwork.of_style("fluent_3d")).assign(word=lambda table: table["name"].map(slug))
    rounds = association_rounds(pictures)
    used = {candidate for play in rounds for candidate in play.candidates}
    files = dict(zip(pictures["word"], pictures["picture"], strict=True))
    write_association(output, rounds, {word: artwork.jpeg(files[word]) for word in files if word in used})


def association_rounds(pictures: pd.DataFrame) -> list[Round]:
    """Up to ROUNDS games, one per tag, from a table with columns word, tags, subgroup.

    The associations carry the tag. The distractors come from subgroups in which nothing does, so that none of them
    fits the cue but lacks the tag by an oversight.
    """
    carriers = _carriers(pictures)
    cues = sorted(carriers, key=lambda cue: stable_int("round", cue))[:ROUNDS]
    return [_round(cue, pictures, carriers[cue], ROUND_SIZES[i % len(ROUND_SIZES)]) for i, cue in enumerate(cues)]


def _carriers(pictures: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Tag → the rows that carry it, for tags that are plain words, neither rare nor ubiquitous."""
    tagged = pictures.explode("tags")
    groups = {str(tag): rows for tag, rows in tagged.groupby("tags") if re.fullmatch(r"[a-z]{3,}", str(tag))}
    return {tag: rows for tag, rows in groups.items() if 3 <= len(rows) <= 40 and rows["subgroup"].nunique() <= 10}


def _round(cue: str, pictures: pd.DataFrame, carriers: pd.DataFrame, size: int) -> Round:
    def order(word: str) -> int:
        return stable_int(cue, word)

    most = min(len(carriers), size // 2)
    count = 2 + stable_int("associations", cue) % (most - 1)
    associations = sorted(carriers["word"], key=order)[:count]
    others = pictures[~pictures["subgroup"].isin(carriers["subgroup"])]
    distractors = sorted(others["word"], key=order)[: size - count]
    mixed = sorted([*associations, *distractors], key=lambda word: stable_int("shown", cue, word))
    return Round(cue, mixed, associations)


BUILDERS: dict[str, Callable[[Artwork, Path], None]] = {
    "openmoji": _openmoji,
    "fluent_3d": _fluent_3d,
    "heldout_instances": _heldout_instances,
    "subgroups": _subgroups,
    "quickdraw": _quickdraw,
    "digits": _digits,
    "heldout_names": _heldout_names,
    "association": _association,
    "styles": _styles,
}
