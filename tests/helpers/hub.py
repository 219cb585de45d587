"""A hub on the loopback interface that speaks the protocol of the Hugging Face hub: revisions, paged trees, HEAD and
GET of files with ETag and commit headers, redirects of large files to a second server, and range requests."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PAGE = 3
LARGE = (".tar", ".zip", ".parquet")


class Hub:
    """`repositories`: name → path → content. `faults`: path → what happens at its next requests, one each:
    a status code, ("cut", bytes) or ("send", other content). `gated`: names that need the token "secret"."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.gated: set[str] = set()
        self.faults: dict[str, list[object]] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.lock = threading.Lock()
        self.api = self._serve(_Api)
        self.storage = self._serve(_Storage)
        self.url, self.storage_url = (f"http://127.0.0.1:{server.server_port}" for server in (self.api, self.storage))

    def _serve(self, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (handler,), {"hub": self}))
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server

    def close(self) -> None:
        for server in (self.api, self.storage):
            server.shutdown()
            server.server_close()

    def visits(self, method: str = "GET") -> Counter[str]:
        """Requests of files' contents, by path."""
        return Counter(path for verb, path, _ in self.requests if verb == method and not path.startswith("/api/"))

    def ranges(self, path: str) -> list[str | None]:
        """The Range headers of the requests of a path, in order."""
        return [headers.get("range") for verb, asked, headers in self.requests if (verb, asked) == ("GET", path)]


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_HEAD(self) -> None:
        self._do()

    def do_GET(self) -> None:
        self._do()

    def _do(self) -> None:
        path = unquote(urlsplit(self.path).path)
        with self.hub.lock:
            self.hub.requests.append((self.command, path, {key.lower(): value for key, value in self.headers.items()}))
            waiting = self.hub.faults.get(path)
            fault = waiting.pop(0) if waiting else None
        if isinstance(fault, int):
            self.reply(fault, b"", {})
        else:
            self.answer(path, fault)

    def answer(self, path: str, fault: tuple[str, object] | None) -> None:
        raise NotImplementedError

    def reply(self, status: int, body: bytes, headers: dict[str, str], fault: tuple[str, object] | None = None) -> None:
        kind, value = fault or ("", None)
        body = value if kind == "send" else body
        start = 0
        if status == 200 and (asked := self.headers.get("Range")):
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            status, headers = 206, {**headers, "Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}
        self.send_response(status)
        for key, text in {"Content-Length": str(len(body) - start), **headers}.items():
            self.send_header(key, text)
        self.end_headers()
        if self.command == "GET":
            end = start + value if kind == "cut" else None
            self.wfile.write(body[start:end])
            self.close_connection = kind == "cut"

    def error(self, status: int, code: str, message: str) -> None:
        self.reply(status, json.dumps({"error": message}).encode(), {"X-Error-Code": code, "X-Error-Message": message})

    def log_message(self, *arguments: object) -> None:
        pass


class _Api(_Handler):
    def answer(self, path: str, fault: tuple[str, object] | None) -> None:
        api = path.startswith("/api/datasets/")
        parts = path.removeprefix("/api").removeprefix("/datasets/").split("/")
        name, verb, revision, rest = "/".join(parts[:2]), parts[2], parts[3], "/".join(parts[4:])
        files = self.hub.repositories.get(name)
        if files is None:
            self.error(401, "RepoNotFound" if api else "", "Repository not found")
        elif revision not in ("main", COMMIT):
            self.error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        elif api and verb == "revision":
            self.reply(200, json.dumps({"id": name, "sha": COMMIT, "siblings": []}).encode(), {})
        elif api:
            self.tree(path, files, fault)
        elif name in self.hub.gated and self.headers.get("Authorization") != "Bearer secret":
            self.error(401, "GatedRepo", f"Access to dataset {name} is restricted.")
        elif rest not in files:
            self.error(404, "EntryNotFound", "Entry not found")
        else:
            self.file(rest, files[rest], fault)

    def tree(self, path: str, files: dict[str, bytes], fault: tuple[str, object] | None) -> None:
        start = int(parse_qs(urlsplit(self.path).query).get("cursor", ["0"])[0])
        folders = sorted({"/".join(name.split("/")[:-1]) for name in files} - {""})
        entries = [{"type": "directory", "path": folder, "oid": "0" * 40, "size": 0} for folder in folders]
        entries += [
            {"type": "file", "path": name, "size": len(data), **_oid(name, data)} for name, data in files.items()
        ]
        headers = {}
        if start + PAGE < len(entries):
            headers["Link"] = f'<{self.hub.url}{path}?recursive=true&cursor={start + PAGE}>; rel="next"'
        self.reply(200, json.dumps(entries[start : start + PAGE]).encode(), headers, fault)

    def file(self, name: str, data: bytes, fault: tuple[str, object] | None) -> None:
        headers = {"X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if name.endswith(LARGE):
            digest = hashlib.sha256(data).hexdigest()
            location = f"{self.hub.storage_url}/{digest}?filename={quote(name)}"
            linked = {"X-Linked-Size": str(len(data)), "X-Linked-ETag": f'"{digest}"', "Location": location}
            self.reply(302, b"", {**headers, **linked})
        else:
            self.reply(200, data, {**headers, "ETag": f'"{_oid(name, data)["oid"]}"'}, fault)


class _Storage(_Handler):
    def answer(self, path: str, fault: tuple[str, object] | None) -> None:
        everything = [data for files in self.hub.repositories.values() for data in files.values()]
        found = [data for data in everything if hashlib.sha256(data).hexdigest() == path[1:]]
        self.reply(200, found[0], {"Accept-Ranges": "bytes", "ETag": f'"{path[1:]}"'}, fault)


def _oid(name: str, data: bytes) -> dict[str, object]:
    if name.endswith(LARGE):
        pointer = f"version git-lfs\noid {hashlib.sha256(data).hexdigest()}\nsize {len(data)}\n".encode()
        lfs = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": len(pointer)}
        return {"oid": _blob(pointer), "lfs": lfs}
    return {"oid": _blob(data)}


def _blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
