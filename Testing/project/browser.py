"""A Chromium without a window, driven over a pipe by its DevTools protocol: real key presses, pictures of the page."""

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
_CODES = {"Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}


class Browser:
    """One page. ``profile``: the folder of what the browser keeps, for a later one too."""

    def __init__(self, profile: Path, downloads: Path, width: int = 1280, height: int = 800) -> None:
        to_browser, from_browser = os.pipe(), os.pipe()
        command = f'exec "$0" "$@" 3<&{to_browser[0]} 4>&{from_browser[1]}'
        options = [
            "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", f"--user-data-dir={profile}",
            f"--window-size={width},{height}", "--no-first-run", "about:blank",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            ["bash", "-c", command, str(PROGRAM), *options],
            pass_fds=(to_browser[0], from_browser[1]),
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser[0])
        os.close(from_browser[1])
        self._out, self._in = os.fdopen(to_browser[1], "wb", 0), os.fdopen(from_browser[0], "rb")
        self._unread, self._n, self._session = b"", 0, None
        self.n_keys = 0
        target = next(one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
        self.call("Page.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer of the browser to a command of its protocol."""
        self._n += 1
        content: dict[str, Any] = {"id": self._n, "method": method, "params": parameters}
        if self._session and not method.startswith(("Target.", "Browser.")):
            content["sessionId"] = self._session
        self._out.write(json.dumps(content).encode() + b"\0")
        while True:
            answer = self._message()
            if answer.get("id") == self._n:
                assert "error" not in answer, answer
                return answer["result"]

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            part = os.read(self._in.fileno(), 1 << 16)
            assert part, "the browser has ended"
            self._unread += part
        text, _, self._unread = self._unread.partition(b"\0")
        return json.loads(text)

    def open(self, page: Path) -> None:
        """Load a file, and wait until it is complete."""
        self.call("Page.navigate", url=page.as_uri())
        self.wait(f"document.readyState === 'complete' && location.href === {page.as_uri()!r}")

    def reload(self) -> None:
        self.js("window.isOld = true")
        self.call("Page.reload")
        self.wait("document.readyState === 'complete' && !window.isOld")

    def js(self, expression: str) -> Any:
        """The value of an expression in the page, of a promise what it gives."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, expression: str, seconds: float = 20.0) -> None:
        ends = time.monotonic() + seconds
        while not self.js(expression):
            assert time.monotonic() < ends, f"not within {seconds:g} s: {expression}"
            time.sleep(0.02)

    def press(self, *keys: str) -> None:
        """Key after key, as a keyboard gives them."""
        for key in keys:
            self.n_keys += 1
            code = _CODES[key] if len(key) > 1 else ord(key.upper()) * key.isalnum()
            text = {"text": "\r" if key == "Enter" else key} if len(key) == 1 or key == "Enter" else {}
            self.call("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **text)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def picture(self, path: Path, width: int = 0, height: int = 800) -> None:
        if width:
            self.call(
                "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
            )
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def close(self) -> None:
        """The browser writes what it keeps, and ends."""
        if self._process.poll() is None:
            self.call("Browser.close")
            self._process.wait(20)
