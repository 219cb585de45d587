"""The files of a trained run, written at its end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from amorlip import models
from amorlip.common import files
from amorlip.config.run import RUN_FILE, write_run
from amorlip.training import cost
from amorlip.training.journal import Journal, identity
from amorlip.training.metrics import Metrics
from amorlip.training.records import CorpusRecord, Provenance, Record
from amorlip.training.session import Session

PROVENANCE, METRICS, WEIGHTS = "provenance.json", "metrics.jsonl", "model.safetensors"
UNKNOWN = "unknown"


def write(session: Session, journal: Journal, metrics: Metrics, output: Path) -> None:
    """Write run.yaml, provenance.json, metrics.jsonl and, last, model.safetensors to `output`."""
    files.delete_unfinished(output, *(f"{name}." for name in (RUN_FILE, PROVENANCE, METRICS, WEIGHTS)))
    write_run(session.run, output)
    _provenance(session, journal, metrics.records).write(output / PROVENANCE)
    metrics.sync()
    files.write_text(output / METRICS, metrics.path.read_text(encoding="utf-8"))
    # last: weights that are there mean that everything is there
    models.export(session.model, output / WEIGHTS)


def _provenance(session: Session, journal: Journal, records: Sequence[Record]) -> Provenance:
    recipe, loader = session.recipe, session.loader
    # not what this process is: it may only export what another one has trained
    last = journal.starts[-1] if journal.starts else None
    return Provenance(
        **identity(session.run),
        corpus=CorpusRecord(name=recipe.corpus, digest=loader.digest, pairs=loader.samples),
        steps=session.steps,
        samples_seen=session.steps * recipe.batch_size,
        skipped_steps=int(journal.window.state["skipped"]),
        training_seconds=journal.training.seconds,
        wall_seconds=journal.wall.seconds,
        peak_memory_mib=journal.peak_memory_mib,
        median_step_ms=cost.median_step_ms(records, recipe.batch_size, last.from_step if last else 1),
        checkpoints=journal.folder.name,
        ranks=session.world.size,
        platform=last.platform if last else UNKNOWN,
        device=last.device if last else UNKNOWN,
        cpu_capability=last.cpu_capability if last else UNKNOWN,
        cuda=last.cuda if last else None,
        git_revision=last.git_revision if last else None,
        versions=last.versions if last else {},
        starts=journal.starts,
    )
