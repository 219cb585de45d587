"""One deadline and one size for a whole exchange, and only public addresses unless others are allowed."""

from __future__ import annotations

import os
import socket
import threading
import time
import urllib.error
import urllib.request

import pytest

from amorlip.common import web
from amorlip.common.hosts import is_public


def answered(*parts: bytes, pause_s: float = 0.0) -> str:
    """Address of a server that sends `parts` to its one visitor, the last one until the visitor leaves."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        visitor, _ = listener.accept()
        with listener, visitor:
            visitor.recv(4096)
            try:
                for part in parts[:-1]:
                    visitor.sendall(part)
                while True:
                    visitor.sendall(parts[-1])
                    time.sleep(pause_s)
            except OSError:
                pass

    threading.Thread(target=serve, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}/"


def read(url: str, *, timeout: float = 5.0, **allowed: bool) -> bytes:
    opener = web.opener(most_bytes=1 << 20, **allowed)
    with opener.open(urllib.request.Request(url), timeout=timeout) as answer:
        return answer.read()


@pytest.mark.parametrize("status", [b"200 OK", b"203 X", b"206 X", b"302 Found\r\nLocation: http://127.0.0.1:9/"])
def test_the_size_of_every_answer_is_bounded(status):
    url = answered(b"HTTP/1.1 " + status + b"\r\n\r\n", bytes(1 << 16))
    with pytest.raises(ValueError, match="too large"):
        read(url, private=True)


@pytest.mark.parametrize(
    "start", [b"HTTP/1.1 200 OK\r\nX-A: ", b"HTTP/1.1 203 X\r\n\r\n", b"HTTP/1.1 302 F\r\nLocation: /\r\n\r\n"]
)
def test_dripped_answers_end_at_the_deadline(start):
    url, began = answered(start, b"a", pause_s=0.1), time.monotonic()
    with pytest.raises(OSError, match="timed out"):
        read(url, timeout=0.5, private=True)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "10.0.0.1", "169.254.169.254", "0.0.0.0", "2130706433"]
)
def test_private_hosts_are_refused(host):
    with pytest.raises(OSError, match="private address"):
        read(f"http://{host}:9/")


@pytest.mark.parametrize(
    "address", ["::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "fe80::1", "fc00::1", "100.64.0.1", "224.0.0.1"]
)
def test_private_addresses_in_other_forms(address):
    assert not is_public(address)
    assert is_public("8.8.8.8") and is_public("2606:4700::1111")


def test_a_redirect_is_checked_again(monkeypatch):
    url = answered(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://10.0.0.1:9/\r\n\r\n", b"")
    port = url.split(":")[-1]
    monkeypatch.setattr("amorlip.common.hosts.is_public", lambda address: address == "127.0.0.1")
    with pytest.raises(OSError, match="10.0.0.1 has a private address"):
        read(f"http://127.0.0.1:{port}")


@pytest.mark.parametrize("target", ["ftp://127.0.0.1:9/a", "file:///etc/hostname"])
def test_redirects_to_other_schemes_are_refused(target):
    url = answered(f"HTTP/1.1 302 F\r\nContent-Length: 0\r\nLocation: {target}\r\n\r\n".encode(), b"")
    with pytest.raises(OSError, match="unknown url type|not allowed"):
        read(url, private=True, files=True) if target[:3] == "fil" else read(url, private=True)


def test_a_servers_words_for_its_status_are_short_and_printable():
    url = answered(b"HTTP/1.1 404 \x1b[31m" + b"a" * 60_000 + b"\r\nContent-Length: 0\r\n\r\n", b"")
    with pytest.raises(urllib.error.HTTPError) as error:
        read(url, private=True)
    assert str(error.value) == f"HTTP Error 404: \\x1b[31m{'a' * 55}…"


def test_only_regular_files(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    os.mkfifo(tmp_path / "fifo")
    assert read((tmp_path / "a").as_uri(), files=True) == b"x"
    with pytest.raises(OSError, match="unknown url type"):
        read((tmp_path / "a").as_uri())
    for path in ((tmp_path / "fifo").as_uri(), "file:///dev/zero", tmp_path.as_uri()):
        with pytest.raises(OSError, match="not a regular file"):
            read(path, files=True)
