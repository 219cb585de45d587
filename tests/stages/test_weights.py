"""Published weights are downloaded once, and used from the cache where there is no network."""

from __future__ import annotations

import json
import socket

import open_clip
import pytest
import torch

from amorlip import cli, models
from amorlip.common.files import sha256


def test_weights_are_fetched_once_and_then_need_no_network(server, tmp_path, monkeypatch):
    torch.manual_seed(0)
    models.export(open_clip.create_model("demo"), tmp_path / "demo.safetensors")
    server.pages["/demo.safetensors"] = (tmp_path / "demo.safetensors").read_bytes()
    published = {"demo": {"mine": {"url": f"{server.url}/demo.safetensors"}}}
    monkeypatch.setattr(open_clip.pretrained, "_PRETRAINED", published)
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = json.dumps({"model": "demo", "pretrained": "mine"})
    cli.main(["weights", "--settings", settings, "--output", str(tmp_path / "mine.json")])
    record = json.loads((tmp_path / "mine.json").read_text())
    assert record["sha256"] == sha256(tmp_path / "demo.safetensors") == sha256(record["file"])

    def refuse(*_):
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert str(models.load_published("demo", "mine").weights) == record["file"]


def test_an_unknown_name_is_one_line(tmp_path, capsys):
    settings = json.dumps({"model": "RN50", "pretrained": "opnai"})
    with pytest.raises(SystemExit):
        cli.main(["weights", "--settings", settings, "--output", str(tmp_path / "mine.json")])
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "did you mean 'openai'?" in said
