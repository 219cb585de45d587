"""The files of a trained run, written when it is over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from amorlip import models
from amorlip.common import files, provenance
from amorlip.training.journal import Journal, identity
from amorlip.training.session import Session


def write(session: Session, journal: Journal, output: Path) -> None:
    """Write run.yaml, provenance.json, metrics.jsonl and, last, model.safetensors to `output`."""
    files.tidy(output, "run.yaml.", "provenance.json.", "metrics.jsonl.", "model.safetensors.")
    settings = session.run.model_dump(mode="json")
    files.write_text(output / "run.yaml", yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
    files.write_json(output / "provenance.json", _provenance(session, journal))
    journal.metrics.sync()
    files.write_text(output / "metrics.jsonl", journal.metrics.path.read_text(encoding="utf-8"))
    models.export(session.model, output / "model.safetensors")


def _provenance(session: Session, journal: Journal) -> dict[str, Any]:
    recipe, loader = session.recipe, session.loader
    return {
        **identity(session.run),
        "corpus": {"name": recipe.corpus, "digest": loader.digest, "pairs": loader.samples},
        "steps": session.steps,
        "samples_seen": session.steps * recipe.batch_size,
        "skipped_steps": int(journal.window.state["skipped"]),
        "training_seconds": journal.training.seconds,
        "wall_seconds": journal.wall.seconds,
        "checkpoints": journal.folder.name,
        "ranks": session.world.size,
        **provenance.machine(),
        "git_revision": provenance.revision(),
        "versions": provenance.versions(),
    }
