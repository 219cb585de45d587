"""Layers of the top-level configuration: the same as Snakemake's, and errors where the value was written."""

from __future__ import annotations

import pytest
import snakemake.utils
import yaml
from snakemake.common.configfile import load_configfile
from snakemake.settings.types import ConfigSettings

from amorlip import cli
from amorlip.common.errors import AmorlipError
from amorlip.config.load import merge, merged
from amorlip.config.locations import read_layer
from amorlip.study import load_study, top_level_layers
from tests.helpers import REPOSITORY
from tests.helpers.bounds import bounded

CONFIG = REPOSITORY / "config"

FIRST = """\
name: first
overrides:
  scales:
    demo:
      recipe:
        epochs: 20
        optimizer: {lr: 0.01}
"""
SECOND = """\
seeds: [0, 1]
overrides:
  scales: {demo: {recipe: {optimizer: {beta1: 0.8}}}}
"""


def written(folder, **texts):
    """File of each text, by its name."""
    paths = []
    for name, text in texts.items():
        paths.append(folder / f"{name}.yaml")
        paths[-1].write_text(text)
    return paths


def load(files, given=None):
    layers = top_level_layers(files, CONFIG, given)
    return load_study(merged(layers), CONFIG, layers=layers)


def refused(files, given=None):
    with pytest.raises(AmorlipError) as caught:
        load(files, given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("given", [{}, {"seeds": [3], "overrides": {"methods": {"clip": {"title": "baseline"}}}}])
@pytest.mark.parametrize("count", [0, 1, 2])
def test_layers_are_those_of_snakemake(tmp_path, count, given):
    files = written(tmp_path, first=FIRST, second=SECOND)[:count]
    config = load_configfile(CONFIG / "config.yaml")  # what `configfile:` does
    snakemake.utils.update_config(config, ConfigSettings(config=given, configfiles=files).overwrite_config)
    assert merged(top_level_layers(files, CONFIG, given)) == config


def test_several_files_change_one_file_key_by_key(tmp_path):
    recipe = load(written(tmp_path, first=FIRST, second=SECOND)).scales["demo"].recipe
    assert (recipe.epochs, recipe.optimizer.lr, recipe.optimizer.beta1) == (20, 0.01, 0.8)


def test_an_error_names_file_and_line_of_a_top_level_key(tmp_path):
    (file,) = written(tmp_path, own="name: own\nseeds: [0, -1]\n")
    assert refused([file]).startswith(f"{file}, line 2: seeds.1: input should be greater than or equal to 0, got -1")


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("epochs: 0", ["line 6: overrides.scales.demo.recipe.epochs: ", "got 0"]),
        ("epcohs: 3", ["line 6: overrides.scales.demo.recipe.epcohs: unknown key 'epcohs'", "did you mean 'epochs'"]),
        ("model: RN5", ["line 6: overrides.scales.demo.recipe.model: unknown model 'RN5'", "did you mean 'RN50'"]),
        ("corpus: dmeo", ["line 6: overrides.scales.demo.recipe.corpus: unknown file in corpora/", "'demo'"]),
        ("ranks: 3", ["line 6: overrides.scales.demo.recipe.ranks: ", "batch_size 256 is not a multiple of ranks 3"]),
        ("batch_size: 33\n        ranks: 2", ["line 6: overrides.scales.demo.recipe.batch_size: "]),
    ],
)
def test_an_error_in_overrides_is_not_blamed_on_the_file_below(tmp_path, line, parts):
    text = f"name: own\noverrides:\n  scales:\n    demo:\n      recipe:\n        {line}\n"
    (file,) = written(tmp_path, own=text)
    message = refused([file])
    for part in [f"{file}, {parts[0]}", *parts[1:]]:
        assert part in message


def test_an_error_in_a_methods_layer_is_found_where_the_scale_was_overridden(tmp_path):
    text = "overrides:\n  scales:\n    demo:\n      methods:\n        clip:\n          recipe: {epoch: 3}\n"
    (file,) = written(tmp_path, own=text)
    assert refused([file]).startswith(f"{file}, line 6: overrides.scales.demo.methods.clip.recipe.epoch: unknown key")


def test_an_error_of_an_earlier_file_is_not_blamed_on_a_later_one(tmp_path):
    files = written(tmp_path, first=FIRST.replace("20", "0"), second=SECOND)
    assert refused(files).startswith(f"{files[0]}, line 6: ")


def test_an_error_on_the_command_line_is_found_there(tmp_path):
    given = {"overrides": {"scales": {"demo": {"recipe": {"epochs": "many"}}}}}
    assert refused(written(tmp_path, first=FIRST), given).startswith(
        "--config: overrides.scales.demo.recipe.epochs: input should be a valid integer, got 'many'"
    )


def test_an_error_of_a_shipped_file_names_it(tmp_path):
    """Of the folder that the files are read from."""
    folder = tmp_path / "config"
    (folder / "scales").mkdir(parents=True)
    for kind in ("benchmarks", "corpora", "experiments", "methods", "paper"):
        (folder / kind).symlink_to(CONFIG / kind)
    (folder / "config.yaml").symlink_to(CONFIG / "config.yaml")
    text = (CONFIG / "scales" / "demo.yaml").read_text()
    (folder / "scales" / "demo.yaml").write_text(text.replace("epochs: 14", "epochs: -14"))
    line = text.split("epochs: 14")[0].count("\n") + 1
    layers = top_level_layers([], folder)
    with pytest.raises(AmorlipError) as caught:
        load_study(merged(layers), folder, layers=layers)
    assert str(caught.value).startswith(f"{folder}/scales/demo.yaml, line {line}: recipe.epochs: ")


def test_a_missing_key_is_reported_in_the_file_that_should_have_it(tmp_path):
    variant = "overrides: {experiments: {table1: {variants: [{name: fast, method: clip}]}}}\n"
    (file,) = written(tmp_path, own=variant)
    message = refused([file])
    assert message == f"{file}, line 1: overrides.experiments.table1.variants.0.title: this key is required"


def test_a_changed_selection_is_not_blamed_on_the_files(tmp_path):
    """As when the workflow is used as a module: the keys come from the other workflow's configuration."""
    files = written(tmp_path, first=FIRST)
    layers = top_level_layers(files, CONFIG)
    with pytest.raises(AmorlipError, match=r"^configuration: seeds\.0: input should be .* got -1$"):
        load_study({**merged(layers), "seeds": [-1]}, CONFIG, layers=layers)


def test_a_value_behind_an_anchor_is_found_where_it_was_written(tmp_path):
    path = tmp_path / "anchors.yaml"
    path.write_text("a: &a\n  lr: 1\nb: *a\nc:\n  <<: *a\n  x: 2\n")
    layer = read_layer(path)
    assert layer.data == yaml.safe_load(path.read_text())
    assert layer.place(("b", "lr")) == f"{path}, line 2: b.lr"
    assert layer.place(("c", "lr")) == f"{path}, line 2: c.lr"
    assert layer.place(("c", "x")) == f"{path}, line 6: c.x"


@pytest.mark.parametrize("text", ["- a\n", "a: [1\n", "just text\n", "", "? [1, 2]\n: 3\n", "a: \xff\n"])
def test_what_is_not_a_mapping_is_refused(tmp_path, text):
    path = tmp_path / "bad.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(AmorlipError, match=r"bad\.yaml"):
        read_layer(path)


def test_a_key_given_twice_is_refused(tmp_path):
    path = tmp_path / "twice.yaml"
    path.write_text("a: 1\nb: 2\na: 3\n")
    with pytest.raises(AmorlipError, match=r"twice\.yaml, line 3: key 'a' is given twice"):
        read_layer(path)


def test_merging_keeps_what_a_layer_does_not_change():
    assert merge({"a": {"b": 1, "c": [1]}, "d": 1}, {"a": {"c": [2]}}) == {"a": {"b": 1, "c": [2]}, "d": 1}


def test_amorlip_config_layers_files_as_snakemake_does(tmp_path, capsys):
    """config/README's own example, which leaves out what config.yaml has, and a second file over it."""
    cli.main(["config", *map(str, written(tmp_path, first=FIRST, second=SECOND))])
    runs = yaml.safe_load(capsys.readouterr().out)
    assert set(runs) == {f"demo/{method}-seed{seed}" for method in ("clip", "amorlip_l2log") for seed in (0, 1)}
    assert runs["demo/clip-seed0"]["recipe"]["optimizer"]["beta1"] == 0.8


def test_amorlip_config_warns_of_rows_that_train_the_same_model(tmp_path, capsys):
    variant = "{name: slow, method: amorlip_l2log, title: Slow, settings: {lr_rule: times_ranks}}"
    text = f"overrides: {{experiments: {{table1: {{variants: [{variant}]}}}}}}"
    cli.main(["config", *map(str, written(tmp_path, own=text))])
    assert "demo-amorlip_l2log-slow train the same model (they differ in lr_rule" in capsys.readouterr().err


BILLIONS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
)
MERGED = "a0: &a0 {k: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}\n" for i in range(1, 9))


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: " + "[" * 20_000, "nested more than 100 levels deep"),
        ("name: " + "{a: " * 20_000, "nested more than 100 levels deep"),
        ("name:\n" + "- " * 20_000, "nested more than 100 levels deep"),
        ("? [a, b]\n: 1\n", "line 1: a key must be text or a number, not a list"),
        ("name: x\n? {a: 1}\n: 1\n", "line 2: a key must be text or a number, not a dict"),
        ("name: x\nseeds: !!set {[1]: }\n", "unhashable key"),
        (BILLIONS, "more than 100000 keys and values"),
        (MERGED, "more than 100000 keys and values"),
        ("name: &a [*a]", "recursive"),
        ("seeds: " + "9" * 5000, "digits"),
        ("name: 2001-99-99", "month must be in 1..12"),
        ("name: !!int foo", "invalid literal"),
        ("name: !!bool foo", "foo"),
        ("name: " + "1" * 9 + ":59" * 300 + ".5", "too large"),
        ("name: !!python/object/apply:os.system ['id']", "could not determine a constructor"),
        ("x: " + "y" * 300_000, "more than 0.25 MiB"),
    ],
)
def test_hostile_yaml(tmp_path, text, words):
    (path,) = written(tmp_path, first=text)
    with bounded(mib=200):
        assert words in (message := refused([path])) and str(path) in message and len(message) < 500
