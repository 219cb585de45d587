"""Timing a checkout of the authors' release, with a stand-in for it. No test depends on a time."""

from __future__ import annotations

import json
import runpy
from dataclasses import replace

import pytest

from amorlip import cli
from amorlip.bench import paper_table2, peer, train
from amorlip.bench.steps import PARTS, Timing
from amorlip.common.errors import AmorlipError
from amorlip.monitor import speed
from amorlip.reporting.cost import read_benchmark
from tests.helpers import release

TIMING = Timing(
    step_ms=50, parts_ms=dict.fromkeys(PARTS, 10.0), host_ms=9, peak_mib=1000, reserved_mib=1100, device="cpu",
    text_positions=9,
)  # fmt: skip
CASES = {case.name: case for case in train.tiny_cases()}
CASE = CASES["large/amorlip_l2log, T_online 8"]


@pytest.fixture(autouse=True)
def processes(tmp_path, monkeypatch):
    """The file with the numbers of the stand-in's processes."""
    monkeypatch.setenv(release.PIDS, str(tmp_path / "pids"))
    return tmp_path / "pids"


def measured(checkout, case=CASE):
    return peer.measure(peer.checked(checkout, [case.run]), case.run, case.steps, rounds=3)


def lives(pid: str) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_its_windows_are_read_and_its_processes_ended(tmp_path, processes, monkeypatch):
    """Also inside a job of Slurm or a launcher, whose variables it would follow; nothing is left in its folder."""
    for name in ("SLURM_NTASKS", "WORLD_SIZE"):
        monkeypatch.setenv(name, "4")
    checkout = release.write(tmp_path / "release")
    files = sorted(checkout.rglob("*"))
    windows = measured(checkout)
    assert [window.step_s for window in windows] == [*release.STEP_S[2:]]
    assert [window.data_s for window in windows] == [*release.DATA_S[2:]]
    pids = processes.read_text().split()
    assert len(pids) == 2 and not any(map(lives, pids))
    assert sorted(checkout.rglob("*")) == files


def test_the_comparison_is_with_the_middle_of_two_measurements(tmp_path):
    checkout = release.write(tmp_path / "release")
    record, timing = peer.compare(checkout, CASE.run, CASE.steps, 3, TIMING, lambda: replace(TIMING, step_ms=40))
    assert timing == replace(TIMING, step_ms=45)
    assert record.ratio == pytest.approx(release.MEDIAN_ALONE_S / 0.045)
    assert record.ratio_to_whole == pytest.approx(release.MEDIAN_S / 0.045, rel=1e-3)
    assert record.ours_per_s == pytest.approx(16 / 0.045, rel=1e-3)
    assert record.peer_steps_per_s == pytest.approx(16 / release.MEDIAN_ALONE_S, rel=1e-3)
    assert record.peer_per_s == pytest.approx(16 / release.MEDIAN_S, rel=1e-3)


@pytest.mark.parametrize("case", [case for case in train.gpu_cases() if peer.has(case.run)], ids=lambda case: case.name)
@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_its_setting_is_ours(case, device, tmp_path, monkeypatch):
    monkeypatch.setattr(peer.devices, "best", lambda: peer.devices.torch.device(device))
    parse = runpy.run_path(str(release.write(tmp_path) / "src/open_clip_train/params.py"))["parse_args"]
    args, recipe, settings = parse(peer.options(case.run, case.steps, rounds=3)), case.run.recipe, case.run.settings
    assert (args.model, args.batch_size, args.seed) == (recipe.model, recipe.batch_size, case.run.seed)
    assert (args.device, args.precision) == ((device, "amp") if device == "cuda" else (device, "fp32"))
    assert args.dataset_type == "synthetic" and args.log_every_n_steps == case.steps
    assert args.train_num_samples > recipe.batch_size * case.steps * 4
    assert args.update_lambda_every_n_steps == settings["t_online"]
    assert args.lambda_update_frequency == [settings["t_lambda"]]
    assert args.update_ema_mlps_every_n_steps == settings["t_target"]
    assert (args.h_dim_factor, args.model_ema_beta) == (settings["f_d"], settings["alpha"])
    assert (args.lr, args.wd, args.epochs) == (recipe.optimizer.lr, recipe.optimizer.weight_decay, recipe.epochs)
    assert args.grad_clip_norm == recipe.optimizer.grad_clip == 1.0
    assert args.lambda_loss_type == {"amorlip_l2log": "log_l2", "amorlip_fdiv": "kl_div_asym"}[case.run.method]
    assert args.fit_w_prev and args.learn_logit_scale and args.calculate_full and args.scale_loss


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"first": "import no_such.thing"}, r"needs the module no_such; install it: .* -m pip install no_such$"),
        ({"first": "import sklearn.no_such"}, r"the module sklearn.no_such; .* pip install scikit-learn$"),
        ({"first": "1 / 0"}, "exit code 1: ZeroDivisionError: division by zero$"),
        ({"first": "import sys; sys.exit(3)"}, "exit code 3: it printed nothing$"),
        ({"first": "import os; os.kill(os.getpid(), 9)"}, "exit code -9: it printed nothing$"),
        ({"first": "import sys; sys.exit('no disk\\n\\n')"}, "exit code 1: no disk$"),
        ({"first": "raise MemoryError('two\\nlines')\n"}, "exit code 1: MemoryError: two$"),
    ],
)
def test_its_failures_are_told_in_one_line(changes, message, tmp_path):
    with pytest.raises(AmorlipError, match=message):
        measured(release.write(tmp_path / "release", **changes))


def test_an_end_before_the_last_window_is_a_failure(tmp_path, monkeypatch, processes):
    monkeypatch.setattr(release, "STEP_S", release.STEP_S[:4])
    with pytest.raises(AmorlipError, match="exit code 1: StopIteration$"):
        measured(release.write(tmp_path / "release"))
    assert not any(map(lives, processes.read_text().split()))


def test_it_is_stopped_if_it_takes_too_long(tmp_path, monkeypatch):
    monkeypatch.setattr(peer, "LIMIT_S", 0.5)
    with pytest.raises(AmorlipError, match=r"stopped after 0.5 s$"):
        measured(release.write(tmp_path / "release", first="import time; time.sleep(600)"))


@pytest.mark.parametrize("bench", [train, paper_table2], ids=["train", "paper_table2"])
@pytest.mark.parametrize(
    ("removed", "why"),
    [
        ("", "src/open_clip/factory.py is missing"),
        ("src/open_clip_train/main.py", "src/open_clip_train/main.py is missing"),
        ("src/open_clip_train/params.py", "no option --lambda_loss_type"),
    ],
)
def test_another_folder_is_refused_before_anything_is_measured(bench, removed, why, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "timing_of", lambda case, scratch: pytest.fail(case.name))
    checkout = tmp_path / "folder"
    if removed:
        path = release.write(checkout) / removed
        path.unlink()
        if "params" in removed:
            path.write_text("--siglip")
    with pytest.raises(
        AmorlipError, match=f"^--peer: .*folder is not a checkout of the AmorLIP authors' release: .*{why}"
    ):
        bench.run(tmp_path / "t.json", tmp_path / "t.md", tiny=True, checkout=checkout)
    assert not (tmp_path / "t.json").exists()


def test_methods_that_the_release_lacks(tmp_path):
    checkout = release.write(tmp_path / "release")
    with pytest.raises(AmorlipError, match="none of the chosen cases' methods, only amorlip_l2log, amorlip_fdiv"):
        train.run(tmp_path / "t.json", tmp_path / "t.md", tiny=True, only=["*/clip"], checkout=checkout)


@pytest.fixture
def order(monkeypatch):
    """What was measured, in order: the release, and our cases. Ours all take the same time."""
    found, training = [], peer._training

    def started(*arguments):
        found.append("release")
        return training(*arguments)

    def timing(case, _scratch):
        assert case.shards is None
        found.append(case.run.variant or case.name)
        return TIMING

    monkeypatch.setattr(peer, "_training", started)
    monkeypatch.setattr(train, "timing_of", timing)
    return found


def test_paper_table2_has_ours_before_and_after_the_release(tmp_path, order):
    """And its file is still what a table's `cost_file` names, as those of earlier versions are."""
    files, rows = (tmp_path / "t.json", tmp_path / "t.md"), ["t_online_1", "t_online_2"]
    found = paper_table2.run(*files, tiny=True, only=rows, checkout=release.write(tmp_path / "release"))
    assert order == ["medium/clip", *(step for row in rows for step in (row, "release", row, "medium/clip"))]
    assert read_benchmark(files[0]) == found
    assert found[0].peer is None and [row.peer.ratio for row in found[1:]] == [1.8, 1.8]
    assert files[1].read_text().count("| 1.80 |") == 2
    earlier = [{key: value for key, value in row.items() if key != "peer"} for row in json.loads(files[0].read_text())]
    files[0].write_text(json.dumps(earlier))
    assert [row.peer for row in read_benchmark(files[0])] == [None] * 3


def test_paper_table2_keeps_a_row_whose_release_fails(tmp_path, order):
    checkout = release.write(tmp_path / "release", first="import braceexpanded")
    with pytest.raises(AmorlipError, match="1 cases failed.*t_online_1 compared with the release: .*braceexpanded"):
        paper_table2.run(tmp_path / "t.json", tmp_path / "t.md", tiny=True, only=["t_online_1"], checkout=checkout)
    assert order == ["medium/clip", "t_online_1", "release", "medium/clip"]
    clip, row = read_benchmark(tmp_path / "t.json")
    assert row.variant == "t_online_1" and row.peer is None and row.step_time_over_clip == 0


def test_train_compares_each_case_that_the_release_has(tmp_path, order):
    names = ["medium/clip", "medium/amorlip_l2log, T_online 1", "large/amorlip_fdiv, T_online 1"]
    checkout = release.write(tmp_path / "release")
    train.run(tmp_path / "t.json", tmp_path / "t.md", tiny=True, only=names, checkout=checkout)
    compared = [step for name in names[1:] for step in (name, name, "release", name)]
    assert sorted(order) == sorted([names[0], *compared]) and order.count("release") == 2
    for one in (i for i, step in enumerate(order) if step == "release"):
        assert order[one - 1] == order[one + 1] in names
    *ours, first, second = json.loads((tmp_path / "t.json").read_text())
    assert [line["case"] for line in (first, second)] == [
        f"{line['case']} compared with the release" for line in ours[1:]
    ]
    assert first["ratio"] == 1.8 and first["batch"] == 16 and first["device"] == "cpu"
    assert speed._cases(tmp_path / "t.json").keys() == {line["case"] for line in ours}
    assert "| 1.80 |" in (tmp_path / "t.md").read_text()


def test_a_case_of_ours_survives_a_release_that_fails(tmp_path, order):
    checkout = release.write(tmp_path / "release", first="1 / 0")
    with pytest.raises(AmorlipError, match="1 cases failed.*compared with the release: .*ZeroDivisionError"):
        train.run(tmp_path / "t.json", tmp_path / "t.md", tiny=True, only=[CASE.name], checkout=checkout)
    [line] = json.loads((tmp_path / "t.json").read_text())
    assert line["case"] == CASE.name


@pytest.mark.parametrize("what", [bench for bench in cli.BENCHES if bench not in cli.STEP_BENCHES])
def test_other_benches_have_no_release(what, tmp_path, capsys):
    with pytest.raises(SystemExit):
        cli.main(["bench", what, "--peer", str(tmp_path), "--output", str(tmp_path)])
    assert capsys.readouterr().err.endswith(
        "--peer is an option of `amorlip bench train` and `amorlip bench paper-table2`\n"
    )


@pytest.mark.parametrize("what", cli.STEP_BENCHES)
def test_the_option_reaches_the_bench(what, tmp_path, capsys):
    arguments = ["bench", what, "--tiny", "--peer", str(tmp_path / "none"), "--output", str(tmp_path)]
    with pytest.raises(SystemExit):
        cli.main(arguments)
    assert "--peer: " in (error := capsys.readouterr().err) and error.count("\n") == 1
