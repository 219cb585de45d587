"""Tables and figures need neither torch nor a GPU: a laptop makes them from the results of a cluster."""

from __future__ import annotations

import json
import subprocess
import sys

from amorlip.config.experiment import Experiment

SCRIPT = """
import json, sys
from pathlib import Path
from amorlip.cli import main
folder = Path(sys.argv[1])
for kind, endings in (("table", ("csv", "md", "tex", "html")), ("figure", ("png", "pdf"))):
    outputs = [str(folder / f"made.{ending}") for ending in endings]
    main([kind, "--settings", str(folder / f"{kind}.json"), "--name", "made", "--outputs", *outputs])
from amorlip.reporting import figures, tables
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def test_no_heavy_library_is_imported(study, tmp_path, table_experiment):
    fake = study()
    figure = Experiment(kind="figure", function="difference_to_baseline", title="t", caption="c")
    for experiment in (table_experiment, figure):
        settings = fake.shown(experiment).model_dump_json()
        (tmp_path / f"{experiment.kind}.json").write_text(settings)
    done = subprocess.run([sys.executable, "-c", SCRIPT, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stdout))
    assert {"pandas", "matplotlib", "amorlip"} <= loaded
    assert not loaded & {"torch", "torchvision", "open_clip", "tensorboard", "snakemake", "scipy"}
    assert {path.suffix for path in tmp_path.glob("made.*")} == {".csv", ".md", ".tex", ".html", ".png", ".pdf"}
