"""A stand-in for a checkout of the AmorLIP authors' release: the same modules, command line and lines in its log.

It trains nothing. The log has made-up times, its process waits after the last of them, and a process of its own, like a
loader's, waits with it.
"""

from __future__ import annotations

from pathlib import Path

STEP_S = (9.0, 5.0, 0.100, 0.120, 0.110)
DATA_S = (8.0, 4.0, 0.010, 0.040, 0.020)
"""Mean seconds of a step by window, and of its wait for data. The first two windows are warmup."""
MEDIAN_S, MEDIAN_ALONE_S = 0.110, 0.090
PIDS = "STAND_IN_PIDS"
"""Environment variable: the file to which the numbers of its processes are written."""

OPEN_CLIP = """
import pathlib
KNOWN = set()
def add_model_config(folder):
    KNOWN.update(path.stem for path in pathlib.Path(folder).glob("*.json"))
"""
PARAMS = """
import argparse
def numbers(text):
    return [float(value) for value in text.strip("[]").split()]
def parse_args(arguments):
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in "model device report-to logs name".split():
        parser.add_argument("--" + name)
    for name in ("batch-size workers train-num-samples epochs warmup seed log-every-n-steps beta_decay_epochs "
                 "update_lambda_every_n_steps update_ema_mlps_every_n_steps reinit_lambda_every_n_epochs").split():
        parser.add_argument("--" + name, type=int)
    for name in ("lr wd grad-clip-norm lambda-lr lr_tau lambda_tolerance h_dim_factor model_ema_beta z_beta_max "
                 "pos_coef").split():
        parser.add_argument("--" + name, type=float)
    for name in "learn-logit-scale calculate_full scale_loss fit_w_prev".split():
        parser.add_argument("--" + name, action="store_true")
    parser.add_argument("--lambda-update-frequency", type=numbers)
    parser.add_argument("--rho_list", type=numbers)
    parser.add_argument("--precision", choices=["amp", "fp32"])
    parser.add_argument("--dataset-type", choices=["webdataset", "csv", "synthetic", "auto"])
    parser.add_argument("--lambda_loss_type", choices=["log_l2", "kl_div_asym", "kl_div_sym", "js_div"])
    return parser.parse_args(arguments)
"""
MAIN = """
import json, logging, os, subprocess, sys, time
import open_clip
from open_clip_train.params import parse_args
from datacomp.evaluate import evaluate

def main(arguments):
    args = parse_args(arguments)
    logging.basicConfig(level="INFO", format="%(asctime)s | %(levelname)s | %(message)s")
    world = int(os.environ.get("WORLD_SIZE", os.environ.get("SLURM_NTASKS", "1")))
    if world > 1:
        raise RuntimeError("waits for %d other processes" % (world - 1))
    if args.model not in open_clip.KNOWN:
        raise RuntimeError("Model config for %s not found." % args.model)
    json.load(open("open_clip/model_configs/%s.json" % args.model))
    loader = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with open(os.environ[@PIDS@], "a") as file:
        file.write("%d %d " % (os.getpid(), loader.pid))
    times = iter(zip(@STEP_S@, @DATA_S@))
    for step in range(args.train_num_samples // args.batch_size):
        if step % args.log_every_n_steps == 0:
            whole, data = next(times)
            logging.info(
                "Train Epoch: 0 [%d/%d (0%%)] Step: 0.0K | "
                "Data (t): %.3f Batch (t): %.3f, 1.00000/s, 1.00000/s/gpu Logit Scale: 14.286 | Logit Bias: 0.000  | "
                % (step * args.batch_size, args.train_num_samples, data, whole)
            )
    @END@
"""


def write(folder: Path, *, end: str = "time.sleep(600)", first: str = "") -> Path:
    """The checkout. `end`: what its program does after the last window; `first`: at the beginning."""
    main = MAIN
    for name, value in (("PIDS", repr(PIDS)), ("STEP_S", repr(STEP_S)), ("DATA_S", repr(DATA_S)), ("END", end)):
        main = main.replace(f"@{name}@", value)
    files = {
        "open_clip/__init__.py": OPEN_CLIP,
        "open_clip/factory.py": "",
        "open_clip_train/__init__.py": "",
        "open_clip_train/params.py": PARAMS,
        "open_clip_train/main.py": first + "\n" + main,
        # as the release's, this needs packages that training does not
        "datacomp/evaluate.py": "import a_package_for_evaluation_only",
    }
    for name, text in files.items():
        path = folder / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder
