"""Downloads from strangers' servers that end: one deadline and one size for everything that a request leads to.

Both count over redirects, headers and bodies of any status. Hosts are checked after their names are resolved, at each
redirect. The only schemes are http and https, and file where `files` allows it, for regular files.
"""

from __future__ import annotations

import functools
import http.client
import io
import os
import socket
import stat
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from email.message import Message
from typing import Any
from urllib.parse import urlsplit
from urllib.response import addinfourl

from amorlip.common.hosts import PrivateAddress, resolve
from amorlip.common.printable import printable

CHUNK = 1 << 16
MOST_REASON = 60
"""Characters of a status's text that are kept."""
WINDOW_S = 60
"""Over which the speed of an answer is measured."""


class Bounds:
    """What is left of the time and the size of one exchange.

    Args:
        timeout: for the whole exchange [s].
        most_bytes: of all headers and bodies together.
        least_speed: mean over WINDOW_S [bytes/s]. With 0, only `timeout` bounds how long an answer may pause.
    """

    def __init__(self, timeout: float, most_bytes: int, least_speed: int = 0) -> None:
        now = time.monotonic()
        self.deadline, self.most_bytes, self.least_speed = now + timeout, most_bytes, least_speed
        self.received, self.window_end, self.before_window = 0, now + WINDOW_S, 0

    def seconds(self) -> float:
        """How long the next byte may take [s]. Raises TimeoutError if there is no time left, or the answer is slow."""
        now = time.monotonic()
        if now >= self.deadline:
            raise TimeoutError("timed out")
        if not self.least_speed:
            return self.deadline - now
        if now >= self.window_end:
            if self.received - self.before_window < self.least_speed * WINDOW_S:
                raise TimeoutError(f"timed out: fewer than {self.least_speed} bytes/s arrive")
            self.window_end, self.before_window = now + WINDOW_S, self.received
        return min(self.deadline - now, WINDOW_S)

    def count(self, received: int) -> None:
        """Count what was received. Raises ValueError if that is too much."""
        self.received += received
        if self.received > self.most_bytes:
            raise ValueError(f"answer is too large: more than {self.most_bytes / 2**20:g} MiB")


def opener(
    *, most_bytes: int, private: bool = False, files: bool = False, least_speed: int = 0
) -> urllib.request.OpenerDirector:
    """An opener for `urllib.request` whose `timeout` covers the exchange, and which reads at most `most_bytes` of it.

    Args:
        most_bytes: of all headers and bodies together; more is a ValueError.
        private: also hosts that are not on the public internet.
        files: also file:// addresses, of regular files only.
        least_speed: mean over a minute [bytes/s]; a slower answer is a TimeoutError.
    """
    made = urllib.request.OpenerDirector()
    bounds = functools.partial(Bounds, most_bytes=most_bytes, least_speed=least_speed)
    handlers = [urllib.request.ProxyHandler(), urllib.request.UnknownHandler(), _Http(bounds, private)]
    handlers += [_Redirects(), urllib.request.HTTPDefaultErrorHandler(), urllib.request.HTTPErrorProcessor()]
    for handler in [*handlers, *([_Files(bounds)] if files else [])]:
        made.add_handler(handler)
    return made


class _Http(urllib.request.HTTPSHandler):
    def __init__(self, bounds: Callable[[float], Bounds], private: bool) -> None:
        super().__init__()
        self.bounds, self.private = bounds, private

    def http_open(self, req: Any) -> Any:
        return self._open(_Connection, req)

    def https_open(self, req: Any) -> Any:
        return self._open(_SecureConnection, req)

    http_request = urllib.request.HTTPSHandler.do_request_

    def _open(self, kind: type[_Connection], request: Any) -> Any:
        bounds = vars(request).setdefault("bounds", self.bounds(request.timeout))
        private = self.private
        if request.has_proxy() or request._tunnel_host:
            _check_behind_proxy(request.full_url, private)
            private = True  # a proxy is the user's own choice, and usually in the intranet
        return self.do_open(functools.partial(kind, bounds=bounds, private=private), request)


def _check_behind_proxy(url: str, private: bool) -> None:
    """The proxy resolves the name; what it would find is only known where this machine can resolve it too."""
    try:
        resolve(urlsplit(url).hostname or "", 0, private=private)
    except PrivateAddress:
        raise
    except OSError:
        pass


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        if new is not None:
            vars(new)["bounds"] = req.bounds
        return new


class _Connection(http.client.HTTPConnection):
    def __init__(self, host: str, *, bounds: Bounds, private: bool, **options: Any) -> None:
        super().__init__(host, **options)
        self.bounds, self.private = bounds, private
        self._create_connection = self._connect
        vars(self)["response_class"] = functools.partial(_Response, bounds=bounds)  # declared as a class, only called

    def _connect(self, address: tuple[str, int], *_: Any) -> socket.socket:
        host, port = address
        error: OSError | None = None
        for ip in resolve(host, port, private=self.private):
            try:
                made = socket.create_connection((ip, port), self.bounds.seconds())
            except OSError as failed:
                error = failed
                continue
            made.settimeout(max(0.001, self.bounds.deadline - time.monotonic()))  # for the handshake of TLS
            return made
        raise error or OSError(f"{host} has no address")


class _SecureConnection(_Connection, http.client.HTTPSConnection):
    pass


class _Response(http.client.HTTPResponse):
    """One whose headers and body are read within the bounds, and whose `read()` allocates only what arrives."""

    def __init__(self, sock: socket.socket, *arguments: Any, bounds: Bounds, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.fp = io.BufferedReader(_Bounded(self.fp.detach(), bounds, sock))
        self.bounds = bounds

    def begin(self) -> None:
        """As http.client's. The server's words for its status become part of messages, which are counted."""
        super().begin()
        self.reason = printable(self.reason, MOST_REASON)

    def read(self, amt: int | None = None) -> bytes:
        """As http.client's. Raises ConnectionError if the whole body is asked for and is empty or breaks off."""
        if amt is not None:
            return super().read(amt)
        data = bytearray()
        while part := self.read1(CHUNK):
            data += part
        if self.length:
            raise ConnectionError("answer broke off")
        if not data and self.status == 200:  # a redirect needs no body
            raise ConnectionError("answer is empty")
        return bytes(data)


class _Bounded(io.RawIOBase):
    def __init__(self, raw: Any, bounds: Bounds, sock: socket.socket | None = None) -> None:
        self.raw, self.bounds, self.sock = raw, bounds, sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        seconds = self.bounds.seconds()
        if self.sock is not None:
            self.sock.settimeout(seconds)
        count = self.raw.readinto(buffer) or 0
        self.bounds.count(count)
        return count

    def close(self) -> None:
        self.raw.close()
        super().close()


class _Files(urllib.request.BaseHandler):
    def __init__(self, bounds: Callable[[float], Bounds]) -> None:
        self.bounds = bounds

    def file_open(self, request: Any) -> addinfourl:
        if request.host not in (None, "", "localhost"):
            raise urllib.error.URLError("file not on local host")
        bounds = self.bounds(request.timeout)
        # Without O_NONBLOCK, opening a FIFO waits for a writer.
        handle = os.open(urllib.request.url2pathname(request.selector), os.O_RDONLY | os.O_NONBLOCK)
        raw = os.fdopen(handle, "rb", buffering=0, closefd=True) if _is_regular(handle) else None
        if raw is None:
            raise urllib.error.URLError("not a regular file")
        return addinfourl(io.BufferedReader(_Bounded(raw, bounds)), Message(), request.full_url)


def _is_regular(handle: int) -> bool:
    regular = stat.S_ISREG(os.fstat(handle).st_mode)
    if not regular:
        os.close(handle)
    return regular
