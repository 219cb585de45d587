"""Keys of `config/corpora/*.yaml`: image-text pairs for training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from amorlip.common.transparency import Transparency
from amorlip.config.base import (
    Affects,
    Commit,
    Count,
    Fraction,
    IconSet,
    Name,
    Natural,
    PackageName,
    PackageVersion,
    Repository,
    Section,
    Seed,
    Sha256,
    refused,
)


class Pin(Section):
    """Which archive of an npm package."""

    version: PackageVersion
    """Exact version."""
    integrity: Annotated[str, Field(pattern=r"^sha512-[A-Za-z0-9+/]{86}==$")]
    """Subresource-integrity digest of the package's archive; checked after download."""


class Package(Pin):
    """One npm package, pinned."""

    license: str
    """License of the content, as the NOTICE lists it."""
    role: Literal["style", "heldout_style", "names", "sketches", "digits"]
    """`style`: pictures for training; `heldout_style`: pictures for evaluation only; `names`: labels and tags of
    emoji; `sketches`: QuickDraw drawings; `digits`: MNIST."""
    style: Name | None = None
    """Name of the drawing style, for the roles `style` and `heldout_style`."""

    @model_validator(mode="after")
    def _pictures_have_a_style(self) -> Package:
        if self.role in ("style", "heldout_style") and self.style is None:
            raise refused(f"a package with the role '{self.role}' needs the key 'style'", "role")
        return self


class EmojiSource(Section):
    """Pictures of emoji by many artists, with human-written names and tags: the demo's corpus and benchmark."""

    packages: dict[PackageName, Package]
    """npm package name → pin."""
    picture_size: Count = 64
    """Side of a rendered picture [pixels]."""
    heldout_names: Fraction = 0.1
    """Fraction of names that never occur in training, in any style."""
    heldout_instances: Fraction = 0.05
    """Fraction of the remaining (style, name) pairs of the training styles that are kept for evaluation."""
    seed: Seed = 0
    """Seed of the split into held-out and training names."""

    @model_validator(mode="after")
    def _one_package_names_the_emoji(self) -> EmojiSource:
        count = sum(package.role == "names" for package in self.packages.values())
        if count != 1:
            raise refused(f"exactly one package must have the role 'names', not {count}", "packages")
        return self

    @model_validator(mode="after")
    def _styles_differ(self) -> EmojiSource:
        styles = [package.style for package in self.packages.values() if package.style is not None]
        if twice := [style for style in styles if styles.count(style) > 1]:
            raise refused(f"two packages have the style '{twice[0]}'", "packages")
        return self


class IconSource(Pin):
    """Drawings of icon sets, with captions from their names: a package of many sets, each with its own license."""

    package: PackageName
    """npm package with one JSON file for each set, such as @iconify/json."""
    licenses: Annotated[list[str], Field(min_length=1)]
    """SPDX names of licenses; sets under others are left out."""
    sets: list[IconSet] | None = None
    """Sets for training; null: all that are neither hidden, which is how the package marks sets that are superseded,
    nor excluded or held out."""
    excluded_sets: list[IconSet] = []
    """Sets that are left out, whatever their license."""
    heldout_sets: list[IconSet] = []
    """Sets for evaluation only."""
    picture_size: Count = 64
    """Side of a rendered picture [pixels]."""
    heldout_names: Fraction = 0.1
    """Fraction of names that never occur in training, in any set."""
    seed: Seed = 0
    """Seed of the split into held-out and training names."""

    @model_validator(mode="after")
    def _a_set_has_one_use(self) -> IconSource:
        given = [*(self.sets or []), *self.excluded_sets, *self.heldout_sets]
        if twice := [name for name in given if given.count(name) > 1]:
            raise refused(
                f"the set '{twice[0]}' is listed twice; a set trains, is held out or is excluded",
                "sets",
                "excluded_sets",
                "heldout_sets",
            )
        return self


class UrlList(Section):
    """A tab-separated list without header."""

    url: str
    """Address of the list: `https://…`, `http://…`, `file:///…`, or `file:lists/train.tsv`, a path from the working
    directory."""
    columns: list[Literal["url", "caption"]]
    """Order of its two columns."""
    sha256: Annotated[Sha256 | None, Affects.NOTHING] = None
    """Checksum of the list; another one is refused. `amorlip pin` records it."""

    @model_validator(mode="after")
    def _has_both_columns(self) -> UrlList:
        if sorted(self.columns) != ["caption", "url"]:
            raise refused(f"must be 'url' and 'caption', each once, in the list's order, not {self.columns}", "columns")
        return self

    @property
    def is_local(self) -> bool:
        """Whether the list is a file of this machine."""
        return self.url.strip().lower().startswith("file:")


class UrlSource(Section):
    """Captions with the addresses of their images."""

    train: UrlList
    """List of the training pairs."""
    validation: UrlList | None = None
    """List of the validation pairs, where the corpus has one."""
    validation_fraction: Fraction = 0.0
    """Without a validation list: fraction of the training list that is set aside, chosen by a hash of the address. A
    task with the source `validation` measures retrieval on these pairs; without one, nothing uses them."""
    allow_private_addresses: bool = False
    """Whether the lists and their images may come from servers that are not on the public internet (private, loopback
    and link-local addresses). Set it for an intranet; a stranger's list could name servers that only your network can
    reach."""


class MirrorSource(Section):
    """A Hugging Face dataset repository that holds the pairs as WebDataset shards (keys jpg, txt, json)."""

    repository: Repository
    """owner/name."""
    revision: str = "main"
    """Commit, tag or branch; the resolved commit is recorded."""
    commit: Annotated[Commit | None, Affects.NOTHING] = None
    """The commit that is downloaded, whatever `revision` stands for by now; `amorlip pin` records it."""
    train_sha256: Annotated[Sha256 | None, Affects.NOTHING] = None
    """Checksum of all training shards; others are refused. `amorlip pin` records it."""
    validation_sha256: Annotated[Sha256 | None, Affects.NOTHING] = None
    """The same for the validation shards."""
    train: str
    """Glob of the training shards."""
    validation: str
    """Glob of the validation shards."""


class ImageStorage(Section):
    """How images are stored in the shards (img2dataset's options of the same names)."""

    image_size: Count = 256
    """Side that images are resized to [pixels]."""
    resize_mode: Literal["no", "border", "keep_ratio", "center_crop", "keep_ratio_largest"] = "keep_ratio"
    """How to resize. `keep_ratio`: the shorter side becomes image_size. `border`, img2dataset's own default: the longer
    side does, and the rest of the square is padded."""
    resize_only_if_bigger: bool = True
    """Never enlarge."""
    encode_format: Literal["jpg", "png", "webp"] = "jpg"
    """File format of the stored image."""
    encode_quality: Natural = 95
    """JPEG or WebP quality; for png the compression level 0-9."""
    min_image_size: Natural = 0
    """Images with a shorter side below this are refused [pixels]."""

    @model_validator(mode="after")
    def _quality_is_in_the_range_of_the_format(self) -> ImageStorage:
        most = {"jpg": 100, "png": 9, "webp": 100}[self.encode_format]
        if self.encode_quality > most:
            what = "the compression level of png" if self.encode_format == "png" else f"{self.encode_format}'s quality"
            raise refused(f"{what} is at most {most}, not {self.encode_quality}", "encode_quality", "encode_format")
        return self


class DownloadSettings(Section):
    """Speed and timeouts of the download. None of these keys changes the corpus, so none runs a stage again."""

    jobs: Count = 1
    """Jobs that divide the download of the training split. Each uses the processes and threads below."""
    processes: Count = 2
    """Worker processes."""
    threads: Count = 32
    """Download threads per process."""
    timeout_s: Count = 10
    """Timeout per image [s]."""
    retries: Natural = 1
    """Further passes over the failed addresses, after the first pass."""


class Corpus(Section):
    """Image-text pairs for training."""

    title: Annotated[str, Affects.DISPLAY]
    """Name in tables and captions."""
    source: Literal["emoji", "icons", "urls", "mirror"]
    """Which of the sources below is used."""
    emoji: EmojiSource | None = None
    """The demo's source."""
    icons: IconSource | None = None
    """Icon sets: the source of the scale between the demo and the paper."""
    urls: UrlSource | None = None
    """Lists of addresses, downloaded with img2dataset."""
    mirror: MirrorSource | None = None
    """Ready-made shards."""
    image: ImageStorage = ImageStorage()
    """How images are stored."""
    download: Annotated[DownloadSettings, Affects.NOTHING] = DownloadSettings()
    """Speed of the download."""
    transparency: Transparency = "white"
    """How transparent pixels are shown: `white` composes images on white; `drop` shows the colors stored under the
    transparency. Applied when an image is downloaded, and when training reads a mirror's shards."""
    samples_per_shard: Count = 10000
    """Pairs per shard."""
    min_yield: Fraction = 0.5
    """The workflow stops if a smaller fraction of the requested pairs was downloaded."""
    published_pairs: Annotated[Count | None, Affects.DISPLAY] = None
    """Training pairs that the paper's authors obtained; printed under the tables next to ours."""

    @model_validator(mode="after")
    def _chosen_source_is_described(self) -> Corpus:
        if getattr(self, self.source) is None:
            raise refused(f"'{self.source}' needs the section '{self.source}', which is missing", "source")
        return self

    def names_files(self, split: str) -> bool:
        """Whether the addresses of a split may be files of this machine: not where they are from the internet."""
        if self.source != "urls" or self.urls is None:
            return self.is_rendered
        given = self.urls.validation if split == "validation" else None
        return (given or self.urls.train).is_local

    @property
    def is_rendered(self) -> bool:
        """Whether the pictures are rendered here, from pinned packages of drawings."""
        return self.source in ("emoji", "icons")

    @property
    def allows_private_addresses(self) -> bool:
        """Whether images may come from servers that are not on the public internet."""
        return self.source == "urls" and self.urls is not None and self.urls.allow_private_addresses
