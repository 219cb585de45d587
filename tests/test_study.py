"""The configuration: layers, messages, and the runs of a study."""

from __future__ import annotations

import pytest
import yaml

from amorlip.common.errors import AmorlipError
from amorlip.config.load import merge, read_yaml, validate
from amorlip.config.recipe import Optimizer, Recipe
from amorlip.config.scale import Scale
from amorlip.study import load_study, settings_file, warnings
from tests.helpers import REPOSITORY

CONFIG = REPOSITORY / "config"
DEMO = yaml.safe_load((CONFIG / "config.yaml").read_text())


def load(**changes):
    return load_study(merge(DEMO, changes), CONFIG, "config.yaml")


def runs(study):
    return {run.name: run for _, run in study.runs}


@pytest.mark.parametrize("name", ["config.yaml", "mini.yaml", "small.yaml", "paper.yaml"])
def test_shipped_configurations_are_valid(name):
    study = load_study(read_yaml(CONFIG / name), CONFIG, name)
    variants = {(variant.name, variant.method) for one in study.experiments.values() for variant in one.variants}
    rows = len(study.methods) + len(variants)
    assert len(study.runs) == len(study.scales) * rows * len(study.selection.seeds)
    assert study.corpora


def test_controls_change_one_part_of_amorlip_at_a_time():
    """In batches of 64; dcl and dcl_rho are there as variants only."""
    study = load_study(read_yaml(CONFIG / "controls.yaml"), CONFIG, "controls.yaml")
    assert len(study.runs) == 3 * 13 and {run.method for _, run in study.runs if not run.variant} == {
        "clip",
        "amorlip_l2log",
    }
    assert {run.recipe.batch_size for _, run in study.runs} == {64}


@pytest.mark.parametrize("top", ["mini.yaml", "paper.yaml"])
@pytest.mark.parametrize("name", [path.stem for path in sorted((CONFIG / "experiments").glob("*.yaml"))])
def test_every_shipped_experiment_fits_the_shipped_studies(top, name):
    """Those of a scale that the study does not have do not fit it."""
    named = read_yaml(CONFIG / "experiments" / f"{name}.yaml").get("scales")
    if named and not set(named) & set(read_yaml(CONFIG / top)["scales"]):
        pytest.skip("it names a scale of another study")
    study = load_study({**read_yaml(CONFIG / top), "experiments": [name]}, CONFIG, top)
    assert study.runs and warnings(study) == []


def test_layers_are_merged_in_order():
    """The scale changes the method's file, and the overrides change the scale."""
    study = load(
        overrides={
            "methods": {"amorlip_l2log": {"settings": {"t_online": 5, "t_target": 7}, "recipe": {"epochs": 3}}},
            "scales": {"demo": {"methods": {"amorlip_l2log": {"settings": {"t_online": 9}}}, "recipe": {"epochs": 2}}},
        }
    )
    amorlip, clip = runs(study)["amorlip_l2log-seed0"], runs(study)["clip-seed0"]
    assert amorlip.settings["t_online"] == 9
    assert amorlip.recipe.epochs == 3
    assert clip.recipe.epochs == 2


def test_methods_share_what_they_do_not_change():
    clip, amorlip = (runs(load())[name].recipe for name in ("clip-seed0", "amorlip_l2log-seed0"))
    assert clip.corpus == amorlip.corpus and clip.batch_size == amorlip.batch_size


def test_a_seed_adds_one_run_a_method():
    assert set(runs(load(seeds=[0, 1]))) - set(runs(load())) == {"clip-seed1", "amorlip_l2log-seed1"}


def test_variants_become_runs_of_their_own():
    variant = {"name": "fast", "method": "amorlip_l2log", "title": "fast", "settings": {"t_online": 8}}
    study = load(overrides={"experiments": {"table1": {"variants": [variant]}}})
    assert runs(study)["amorlip_l2log-fast-seed0"].settings["t_online"] == 8
    assert [title for title, _ in study.experiment_runs("table1")][-1] == "fast"
    assert "amorlip_l2log-fast-seed0" not in {run.name for _, run in study.experiment_runs("accuracy_over_epochs")}


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"sedes": [1]}, ["config.yaml", "'sedes'", "did you mean 'seeds'", "[1]"]),
        ({"seeds": []}, ["config.yaml", "seeds", "at least 1"]),
        ({"seeds": [-1]}, ["seeds", "-1"]),
        ({"seeds": "0"}, ["seeds", "list", "'0'"]),
        ({"name": "a/b"}, ["name", "'a/b'"]),
        ({"scales": ["dmeo"]}, ["scales", "'dmeo'", "did you mean 'demo'"]),
        ({"methods": ["amorlip"]}, ["methods", "did you mean 'amorlip_"]),
        ({"benchmark": "demos"}, ["benchmark", "did you mean 'demo'"]),
        ({"overrides": {"scales": {"large": {}}}}, ["overrides.scales", "'large'"]),
        (
            {"overrides": {"scales": {"demo": {"recipe": {"optimizer": {"lrr": 0.5}}}}}},
            ["overrides.scales.demo", "recipe.optimizer", "'lrr'", "did you mean 'lr'", "0.5"],
        ),
        (
            {"overrides": {"scales": {"demo": {"recipe": {"optimizer": {"lr": "fast"}}}}}},
            ["overrides.scales.demo", "recipe.optimizer.lr", "'fast'"],
        ),
        (
            {"overrides": {"methods": {"amorlip_l2log": {"settings": {"beta_mx": 0.7}}}}},
            ["overrides.methods.amorlip_l2log.settings", "'beta_mx'", "did you mean 'beta_max'"],
        ),
        (
            {"overrides": {"scales": {"demo": {"methods": {"clip": {"recipe": {"epoch": 3}}}}}}},
            ["overrides.scales.demo.methods.clip.recipe", "'epoch'", "did you mean 'epochs'"],
        ),
        (
            {"overrides": {"scales": {"demo": {"recipe": {"epoch_tasks": ["openmojis"]}}}}},
            ["epoch_tasks", "'openmojis'", "did you mean 'openmoji'"],
        ),
        ({"overrides": {"scales": {"demo": {"recipe": {"ranks": 3}}}}}, ["batch_size 256", "ranks 3"]),
        ({"overrides": {"methods": {"clip": {"objective": "clipp"}}}}, ["objective", "did you mean 'clip'"]),
    ],
)
def test_errors_name_file_key_value_and_nearest_key(changes, parts):
    with pytest.raises(AmorlipError) as caught:
        _ = load(**changes).corpora
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message


def test_exponents_without_a_point_are_numbers():
    """YAML 1.1 reads 1e-3 as text."""
    value = yaml.safe_load("lr: 1e-3")
    assert isinstance(value["lr"], str)
    assert Optimizer.model_validate(value).lr == 1e-3


def test_settings_files_are_named_by_their_content(tmp_path):
    """So a command line can be repeated, and a changed setting never overwrites what a running job reads."""
    run = runs(load())["amorlip_l2log-seed0"]
    first = settings_file("train", {"run": run.model_dump()}, tmp_path)
    assert settings_file("train", {"run": run.model_dump()}, tmp_path) == first
    assert settings_file("train", {"run": {**run.model_dump(), "seed": 1}}, tmp_path) != first
    assert type(run).model_validate(read_yaml(first)["run"]) == run


def test_every_layer_names_known_methods():
    """A scale may only change methods that exist, and only in keys that they have."""
    for path in (CONFIG / "scales").glob("*.yaml"):
        scale = validate(Scale, read_yaml(path), str(path))
        for method, layer in scale.methods.items():
            assert (CONFIG / "methods" / f"{method}.yaml").is_file(), f"{path}: {method}"
            validate(Recipe, merge(scale.recipe.model_dump(), layer.recipe), f"{path}: {method}")


BETA_0 = {"beta_max": 0}
MEAN, MEMORY, CORPUS = {"estimator": "batch_mean"}, {"estimator": "memory"}, {"estimator": "corpus"}


@pytest.mark.parametrize(
    ("first", "second", "differ"),
    [
        ({"settings": BETA_0}, {"settings": {**BETA_0, "alpha": 0.5}}, "alpha"),
        ({"settings": BETA_0}, {"settings": {**BETA_0, "t_online": 4, "f_d": 2.0}}, "t_online, f_d"),
        ({"settings": BETA_0}, {"settings": BETA_0, "method": "amorlip_fdiv"}, "divergence"),
        ({}, {"settings": {"negatives": "local"}}, "negatives"),
        ({}, {"settings": {"lr_rule": "times_ranks"}}, "lr_rule"),
        ({}, {"recipe": {"micro_batch_size": 256}}, "micro_batch_size"),
        ({"recipe": {"epochs": 1}}, {"recipe": {"epochs": 1}, "settings": {"alpha": 0.5}}, "alpha"),
        ({}, {}, "nothing differs"),
        ({"settings": MEAN}, {"settings": {**MEAN, "t_online": 4, "memory_pairs": 999}}, "memory_pairs"),
        ({"settings": MEMORY}, {"settings": {**MEMORY, "corpus_every_steps": 999}}, "nothing differs"),
        ({"settings": CORPUS}, {"settings": {**CORPUS, "memory_pairs": 999}}, "memory_pairs"),
        ({"settings": BETA_0}, {"settings": {**BETA_0, **MEAN}}, "estimator"),
        ({"settings": BETA_0}, {"settings": {**BETA_0, **CORPUS, "corpus_every_steps": 1}}, "corpus_every_steps"),
        ({}, {"settings": MEAN}, None),
        ({"settings": MEMORY}, {"settings": {**MEMORY, "memory_pairs": 999}}, None),
        ({"settings": CORPUS}, {"settings": {**CORPUS, "corpus_every_steps": 1}}, None),
        ({"settings": MEAN}, {"settings": {**MEAN, "beta_max": 0.5}}, None),
        ({}, {"settings": {"alpha": 0.5}}, None),
        ({}, {"settings": {"rho": 0.5}}, None),
        ({"settings": BETA_0}, {"settings": {**BETA_0, "rho": 0.5}}, None),
        (
            {"settings": {**BETA_0, "normalizer": "target"}},
            {"settings": {**BETA_0, "normalizer": "target", "f_d": 2}},
            None,
        ),
        ({}, {"recipe": {"micro_batch_size": 128}}, None),
        ({}, {"settings": {"beta_counts_from": 1}}, None),
    ],
)
def test_rows_that_train_the_same_model_are_warned_of(first, second, differ):
    """α changes nothing where β is 0: two rows of an ablation would be bit-identical."""
    variants = [
        {"name": name, "title": name, "method": "amorlip_l2log", **layer}
        for name, layer in (("first", first), ("second", second))
    ]
    study = load(overrides={"experiments": {"table1": {"methods": ["clip"], "variants": variants}}})
    found = [warning for warning in warnings(study) if "demo-amorlip" in warning]
    if differ is None:
        assert not found
    else:
        assert len(found) == 1 and found[0].startswith("table1: demo-amorlip_l2log-first and ")
        assert differ in found[0]


@pytest.mark.parametrize("name", ["config.yaml", "mini.yaml", "controls.yaml", "small.yaml", "paper.yaml"])
def test_shipped_studies_have_no_warnings(name):
    assert warnings(load_study(merge(DEMO, read_yaml(CONFIG / name)), CONFIG, name)) == []
