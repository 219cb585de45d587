"""Headless Chromium, told what to do over its debugging pipe: no driver and no port are needed."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAM = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome"))), None)
PATIENCE_S = 60
ERRORS = ("Runtime.exceptionThrown", "Log.entryAdded", "Network.loadingFailed", "Runtime.consoleAPICalled")


class Page:
    """One tab."""

    def __init__(self, commands: int, answers: int) -> None:
        self.commands, self.answers, self.rest, self.number = commands, answers, b"", 0
        self.session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What Chromium answers to a command of its debugging protocol."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        message |= {"sessionId": self.session} if self.session else {}
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.answers], [], [], PATIENCE_S)
            assert ready, "Chromium does not answer"
            data = os.read(self.answers, 1 << 20)
            assert data, "Chromium has ended"
            self.rest += data
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, condition: str) -> None:
        """Until a JavaScript expression is true."""
        deadline = time.monotonic() + PATIENCE_S
        while not self.evaluate(f"Boolean({condition})"):
            assert time.monotonic() < deadline, f"{condition} is still false"
            time.sleep(0.05)

    def open(self, path: Path, *, width: int = 1280, dark: bool = False, scripts: bool = True) -> None:
        """Load a file again at a width, and wait until it is complete."""
        self.call("Page.navigate", url="about:blank")
        self.events.clear()
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=path.as_uri())
        self.wait_for("document.readyState == 'complete' && location.protocol == 'file:'")

    def go(self, anchor: str) -> None:
        """Follow a link inside the page."""
        self.evaluate(f"location.hash = {json.dumps(anchor)}")
        time.sleep(0.1)  # a timer of the page would not run without scripts

    def press(self, key: str) -> None:
        """Press a key, such as Enter, where the focus is."""
        given = {"key": key, "code": key, "windowsVirtualKeyCode": {"Enter": 13}[key], "text": "\r"}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, **given)

    def errors(self) -> list[str]:
        """Exceptions, messages on the console and failed requests since the page was opened."""
        self.evaluate("1")
        found = [event for event in self.events if event.get("method") in ERRORS]
        return [json.dumps(event["params"])[:500] for event in found]

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Write what is seen, or the whole page, as png."""
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))


def _moved(descriptor: int) -> int:
    """The same open file under a number of at least 10."""
    number = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return number


@contextmanager
def chromium(folder: Path) -> Iterator[Page]:
    """A tab of a new Chromium, whose profile is in `folder`. Only where `PROGRAM` is found."""
    assert PROGRAM
    (ours_in, theirs_out), (theirs_in, ours_out) = os.pipe(), os.pipe()
    # It reads commands from descriptor 3 and writes to 4: numbers that ours must not have.
    theirs_in, theirs_out = (_moved(number) for number in (theirs_in, theirs_out))
    command = [
        "bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "bash", PROGRAM, "--headless", "--no-sandbox",
        "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
        f"--user-data-dir={folder}", "--remote-debugging-pipe",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        yield Page(ours_out, ours_in)
    finally:
        os.close(ours_out)
        os.close(ours_in)
        process.terminate()
        process.wait(PATIENCE_S)
