"""Synthetic picture-caption pairs for measuring loaders: equal seeds give equal shards; nothing is downloaded."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from amorlip.config.corpus import Corpus, MirrorSource
from amorlip.corpus.manifest import build_manifest
from amorlip.corpus.records import DOWNLOAD, DownloadRecord

CONTRAST = {"luminance": 55.0, "red-green": 18.0, "blue-yellow": 12.0}
"""Standard deviations, in levels: colors of photographs are mostly shades of one another."""
QUALITY = 85
WORDS = ("a", "the", "red", "small", "two", "with", "near", "house", "dog", "river", "street", "woman", "child", "sky")


def photograph(width: int, height: int, seed: int) -> bytes:
    """A JPEG whose amplitude spectrum falls as 1/f, as those of natural images do; 4.3 bits per pixel."""
    generator = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf
    planes = []
    for contrast in CONTRAST.values():
        spectrum = generator.normal(size=(2, *frequency.shape)) / frequency
        plane = np.fft.irfft2(spectrum[0] + 1j * spectrum[1], s=(height, width))
        planes.append(contrast * plane / plane.std())
    light, red, blue = planes
    pixels = 120 + np.stack([light + red, light - red / 2 + blue / 5, light - blue], axis=-1)
    return _encode(Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)), "JPEG", quality=QUALITY)


def drawing(side: int, seed: int) -> bytes:
    """A PNG of a few shaded ellipses on white, about as large as the demo's pictures."""
    generator, scale = np.random.default_rng(seed), 4
    image = Image.new("RGB", (scale * side, scale * side), "white")
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        x, y, w, h = generator.uniform(0, 0.5, 4) * scale * side + scale * side / 10
        color, shade = generator.integers(0, 256, 3), generator.uniform(-60, 60)
        for ring in np.linspace(0, 0.4, 12):
            fill = tuple(int(c) for c in np.clip(color + ring * shade, 0, 255))
            draw.ellipse((x + ring * w, y + ring * h, x + w - ring * w, y + h - ring * h), fill=fill)
    return _encode(image.resize((side, side), Image.Resampling.LANCZOS), "PNG")


def caption(seed: int) -> str:
    """Five to fifteen words."""
    generator = np.random.default_rng(seed)
    return " ".join(generator.choice(WORDS, generator.integers(5, 16)))


def write_split(folder: Path, picture: Callable[[int], bytes], ending: str, pairs: int) -> int:
    """A checked split of one shard with `pairs` pairs in `folder`; the mean number of bytes of a picture."""
    folder.mkdir(parents=True)
    images = [picture(seed) for seed in range(pairs)]
    with tarfile.open(folder / "00000.tar", "w") as tar:
        for seed, image in enumerate(images):
            for kind, data in ((ending, image), ("txt", caption(seed).encode())):
                info = tarfile.TarInfo(f"{seed:08d}.{kind}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    shards = ["00000.tar"]
    record = DownloadRecord(source="mirror", split="train", requested=pairs, downloaded=pairs, failed={}, shards=shards)
    record.write(folder / DOWNLOAD)
    mirror = MirrorSource(repository="made/up", train="*.tar", validation="none")
    corpus = Corpus(title="made up", source="mirror", mirror=mirror)
    build_manifest("made-up", corpus, "train", folder)
    return round(sum(map(len, images)) / pairs)


def _encode(image: Image.Image, kind: str, **options: int) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
