"""How fast runs train, as measured: by runs of the same study that are done, or by `amorlip bench train`."""

from __future__ import annotations

from pathlib import Path

from amorlip.common.errors import AmorlipError
from amorlip.common.limits import read_json
from amorlip.config.corpus_pairs import known
from amorlip.config.run import Run
from amorlip.monitor.jobs import Job
from amorlip.study import Study
from amorlip.training.records import Provenance

BENCH = "bench/train.json"


class Speeds:
    """Measured speeds of the runs of a study in the folder `results`. Raises AmorlipError if the bench's is damaged."""

    def __init__(self, study: Study, results: Path) -> None:
        self.study, self.results = study, results
        self.source = ""
        """What the last measured hours are from."""
        self._cases = _cases(results / BENCH)
        self._done = {scale: self._hours_of_done(scale) for scale in study.scales}

    def hours(self, job: Job) -> float | None:
        """Hours of a training job; None if its speed was not measured or its corpus' size is not known."""
        assert job.run is not None
        if self._done[job.run.scale] is not None:
            self.source = "finished runs"
            return self._done[job.run.scale]
        pairs = known(job.run.recipe.corpus, self.study.corpora[job.run.recipe.corpus], self.results / "corpora")
        speed = self._measured(job.run)
        if pairs is None or speed is None:
            return None
        self.source = BENCH
        return pairs.pairs * job.run.recipe.epochs / (speed * job.run.recipe.ranks) / 3600

    def _measured(self, run: Run) -> float | None:
        """Pairs per second of the run's method at its scale, else of the slowest method measured there."""
        fits = f", T_online {run.settings['t_online']}" if "t_online" in run.settings else ""
        own = self._cases.get(f"{run.scale}/{run.method}{fits}")
        others = [speed for case, speed in self._cases.items() if case.startswith(f"{run.scale}/")]
        return own or min(others, default=None)

    def _hours_of_done(self, scale: str) -> float | None:
        """The longest run that is done at a scale [h], checkpoints and evaluations included."""
        folder = self.results / self.study.selection.name / "runs" / scale
        done = [Provenance.read(path) for path in folder.glob("*/provenance.json")]
        return max((run.wall_seconds / 3600 for run in done), default=None)


def _cases(path: Path) -> dict[str, float]:
    """Case of `amorlip bench train` → pairs per second of one process."""
    if not path.is_file():
        return {}
    try:
        rows = read_json(path)
        return {row["case"]: float(row["images_per_s"]) for row in rows if "images_per_s" in row}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AmorlipError(f"{path} is damaged; delete it, or measure again with amorlip bench train") from error
