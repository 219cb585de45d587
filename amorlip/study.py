"""A study: its configuration read, resolved and checked before any job.

What the files say is resolved in config/resolved.py; here it is checked. An error names the file and line where the
value was written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from amorlip.common import files
from amorlip.common.errors import AmorlipError, one_line, unknown_key
from amorlip.common.limits import read_json
from amorlip.config import checks, corpus_pairs
from amorlip.config.base import refused
from amorlip.config.effective import differing, effective
from amorlip.config.load import blaming, merge, merged, validate_layers
from amorlip.config.locations import Layer, read_layer
from amorlip.config.named_files import KINDS, NamedFiles
from amorlip.config.resolved import Resolved, Study
from amorlip.config.selection import Selection


def load_study(
    selection: Mapping[str, Any],
    folder: Path,
    where: str = "configuration",
    layers: Sequence[Layer] = (),
) -> Study:
    """Resolve and check a whole study.

    Args:
        selection: content of the top-level configuration.
        folder: the folder with scales/, methods/, corpora/, benchmarks/, experiments/ and paper/.
        where: name of the top-level configuration, for messages about keys that none of `layers` has.
        layers: what `selection` was merged from, for messages; see `top_level_layers`.

    Raises:
        AmorlipError: with one line that names file, line, key, value and the nearest known key.
    """
    known = list(layers) if merged(layers) == dict(selection) else [Layer(selection, where)]
    study = Study(validate_layers(Selection, known), NamedFiles(folder, known))
    _check(study)
    return study


def top_level_layers(files: Sequence[Path], folder: Path, given: Mapping[str, Any] | None = None) -> list[Layer]:
    """The layers of a top-level configuration, as Snakemake lays them over each other.

    `folder`/config.yaml, then `files` (those after `--configfile`) in order, then `given` (what follows `--config`).
    """
    layers = [read_layer(path) for path in (folder / "config.yaml", *files)]
    return [*layers, *([Layer(given, "--config")] if given else [])]


def require_experiments(study: Study, words: Iterable[str]) -> None:
    """Raise AmorlipError for a word of the command line that is an experiment which the study does not select."""
    others = {path.stem for path in (study.folder / "experiments").glob("*.yaml")} - set(study.experiments)
    for name in words:
        if name in others:
            listed = ", ".join([*study.selection.experiments, name])
            raise AmorlipError(f"'{name}' is not one of the study's experiments; add --config 'experiments=[{listed}]'")


def refuse_names(study: Study, rules: Collection[str]) -> None:
    """Raise AmorlipError for an experiment with the name of a rule: both are targets."""
    for name in study.experiments:
        if name in rules:
            with blaming(study.files.top_level, "experiments"):
                raise refused(f"'{name}' is the name of a rule; rename the experiment's file", name)


def _check(study: Study) -> None:
    """Resolve everything, and check what needs several sections or the user's files."""
    _check_overrides(study)
    for name in study.experiments:
        for scale, _, _, resolved in study.rows(name):
            _check_recipe(study, scale, resolved)
        _check_options(study, name)
    for name, model in study.selection.external_models.items():
        with blaming(study.files.top_level, "external_models", name):
            checks.check_external_model(model)
            checks.check_weights(model)
    for name, corpus in study.corpora.items():
        with blaming(study.files.layers("corpora", name)):
            checks.check_lists(corpus)
    for key, task in study.benchmark.tasks.items():
        with blaming(study.files.layers("benchmarks", study.selection.benchmark), "tasks", key):
            if task.source.is_rendered and task.source.corpus is not None:
                checks.check_rendered_corpus(task, study.corpora[task.source.corpus])
                checks.check_artwork(task, study.corpora[task.source.corpus])
            if task.source.kind == "validation" and task.source.corpus is not None:
                checks.check_validation_split(task, study.corpora[task.source.corpus])
            if not study.selection.allow_missing_tasks:
                checks.check_task_folder(task)


def _check_overrides(study: Study) -> None:
    for kind in KINDS:
        used = [study.selection.benchmark] if kind == "benchmarks" else getattr(study, kind)
        for name in getattr(study.selection.overrides, kind):
            with blaming(study.files.top_level, "overrides", kind):
                if name not in used:
                    raise refused(unknown_key(name, used, "name"), name)


def _check_recipe(study: Study, scale: str, resolved: Resolved) -> None:
    resources = study.scales[scale].train_resources
    with blaming(resolved.layers):
        checks.check_nodes(resolved.recipe, resources)
        checks.check_gpus(resolved.recipe, resources)
        checks.check_cpus(resolved.recipe, resources)
    with blaming(resolved.layers, "recipe"):
        checks.check_model(resolved.recipe)
        checks.check_epoch_tasks(resolved.recipe, study.benchmark)
        checks.check_logit_bias(resolved.settings, resolved.recipe)
        checks.check_local_negatives(resolved.settings, resolved.recipe)


def warnings(study: Study) -> list[str]:
    """Probable mistakes: rows of one experiment that train the same model, though their keys differ."""
    found = []
    for name in study.experiments:
        seen: dict[str, tuple[str, Resolved]] = {}
        for scale, method, variant, resolved in study.rows(name):
            row = "-".join(part for part in (scale, method, variant) if part)
            key = json.dumps([scale, effective(resolved.objective, resolved.settings, resolved.recipe)])
            first, known = seen.setdefault(key, (row, resolved))
            if first != row:
                keys = [*differing(known.settings, resolved.settings), *differing(known.recipe, resolved.recipe)]
                why = f"they differ in {', '.join(keys)}, which changes nothing here" if keys else "nothing differs"
                found.append(f"{name}: {first} and {row} train the same model ({why})")
    return found


def _check_options(study: Study, name: str) -> None:
    options = study.options[name]
    with blaming(study.files.layers("experiments", name), "options"):
        checks.check_shown_tasks(options, study.benchmark)
        recipes = [resolved.recipe for *_, resolved in study.rows(name)]
        checks.check_followed_task(options, recipes)
        checks.check_followed_metric(options, recipes, study.benchmark)
        checks.check_published(options, study.folder)


def check_lengths(study: Study, folder: Path) -> None:
    """Raise AmorlipError if a run is too short for its warmup or batch.

    `folder` has the corpora. Nothing is checked where the number of pairs is not known yet: that of drawings is known
    only after their download.
    """
    for name in study.experiments:
        for *_, resolved in study.rows(name):
            known = corpus_pairs.known(resolved.recipe.corpus, study.corpora[resolved.recipe.corpus], folder)
            if known is not None:
                with blaming(resolved.layers, "recipe"):
                    checks.check_length(resolved.recipe, known.pairs, known.advice)


def require_tasks(study: Study, folder: Path) -> None:
    """Raise AmorlipError if a set was left out in `folder` by a study that allowed it, and `study` does not."""
    for task in () if study.selection.allow_missing_tasks else study.benchmark.tasks:
        record = folder / task / "task.json"
        if not record.is_file():
            continue
        try:
            reason = read_json(record).get("missing")
        except (ValueError, AttributeError) as error:
            raise AmorlipError(f"{record} is damaged ({one_line(error)}); delete it") from error
        if reason:
            raise AmorlipError(
                f"{record}: left out by a study that allowed it ({reason}); to try again: "
                f"snakemake --force {record} --config allow_missing_tasks=True"
            )


def _json(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def settings_file(stage: str, settings: Mapping[str, Any], folder: Path, pins: Mapping[str, Any] | None = None) -> Path:
    """The file in `folder` that holds `settings` and `pins` for one call of a stage.

    Its name holds the digest of `settings` alone, so a new pin does not make a job run again. Written unless it is
    there unaltered. So a command line stays short and can be repeated by hand.
    """
    digest = hashlib.sha256(_json(settings).encode()).hexdigest()[:12]
    path, text = folder / f"{stage}-{digest}.json", _json(merge(settings, pins or {}))
    if not path.is_file() or path.read_bytes() != text.encode():
        files.write_text(path, text)
    return path
