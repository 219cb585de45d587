"""One call of img2dataset, kept from leaving processes behind."""

from __future__ import annotations

import functools
import importlib
import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from amorlip.common.images import MOST_PIXELS
from amorlip.config.corpus import Corpus
from amorlip.corpus import robots
from amorlip.corpus.addresses import COLUMNS

SHARD_DIGITS = 5


class _Lists:
    """Takes the place of img2dataset's reader, which cuts one list into shards and numbers them from 0."""

    column_list = COLUMNS

    def __init__(self, folder: Path) -> None:
        self.paths = sorted(folder.glob("*.feather"), key=lambda path: int(path.stem))

    def __iter__(self) -> Iterator[tuple[int, str]]:
        return ((int(path.stem), str(path)) for path in self.paths)


def run(lists: Path, output: Path, corpus: Corpus, split: str) -> None:
    """Download each list `lists`/N.feather (sample_id, caption, url) of a split into shard N under `output`.

    Per shard: NNNNN.tar (image, txt, json with the sample_id), NNNNN.parquet (what became of each address), and
    NNNNN_stats.json, written last.
    """
    # Set before the import: otherwise a dependency looks for its newest version on the network.
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    # OpenCV checks the size in an image's header and refuses it before it allocates memory.
    os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(MOST_PIXELS)
    # Python's resource tracker reports, at any moment, semaphores of an interrupted pool that it has cleaned up.
    silence = "ignore::UserWarning:multiprocessing.resource_tracker"
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, [os.environ.get("PYTHONWARNINGS"), silence]))
    main = importlib.import_module("img2dataset.main")
    from amorlip.corpus.bounded_download import BoundedDownloader

    downloader = functools.partial(
        BoundedDownloader,
        transparency=corpus.transparency,
        private=corpus.allows_private_addresses,
        files=corpus.names_files(split),
    )
    with (
        _no_processes_left(),
        mock.patch.object(main, "Downloader", downloader),
        mock.patch.object(main, "Reader", lambda *_: _Lists(lists)),
    ):
        main.download(
            url_list=str(lists),
            input_format="parquet",
            caption_col="caption",
            disallowed_header_directives=robots.DIRECTIVES,
            output_folder=str(output),
            output_format="webdataset",
            number_sample_per_shard=corpus.samples_per_shard,
            oom_shard_count=SHARD_DIGITS,
            processes_count=corpus.download.processes,
            thread_count=corpus.download.threads,
            timeout=corpus.download.timeout_s,
            extract_exif=False,
            compute_hash=None,
            enable_wandb=False,
            **corpus.image.model_dump(),
        )


@contextmanager
def _no_processes_left() -> Iterator[None]:
    """Ends img2dataset's processes when it is interrupted, stopped (SIGTERM) or fails, and restores the signals.

    It catches SIGINT itself, to clean up and exit with 0: that is turned back into an interrupt.
    """
    before = set(multiprocessing.active_children())
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    except SystemExit as error:
        raise KeyboardInterrupt from error
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for child in set(multiprocessing.active_children()) - before:
            _end(child)


def _end(process: Any) -> None:
    process.terminate()
    process.join()
