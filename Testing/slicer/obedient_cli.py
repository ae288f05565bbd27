"""A command line for the tests of the worker: does what its arguments say, one after the other."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def main(argv: list[str]) -> int:
    for order in argv:
        word, _, value = order.partition("=")
        if word == "say":
            print(value, flush=True)
        elif word == "complain":
            print(value, file=sys.stderr, flush=True)
        elif word == "environment":
            print(json.dumps({"event": "environment", "value": os.environ.get(value), "cwd": os.getcwd()}), flush=True)
        elif word == "be-deaf":
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
        elif word == "grandchild":
            code = "import time; time.sleep(60)"
            print(json.dumps({"event": "pid", "pid": subprocess.Popen([sys.executable, "-c", code]).pid}), flush=True)
        elif word == "deaf-grandchild":
            code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True)"
            deaf = subprocess.Popen([sys.executable, "-c", f"{code}; time.sleep(60)"], stdout=subprocess.PIPE)
            deaf.stdout.readline()
            print(json.dumps({"event": "pid", "pid": deaf.pid}), flush=True)
        elif word == "write":
            Path(value).write_text("an image")
        elif word == "sleep":
            _sleep(float(value))
        elif word == "crash":
            os.abort()
        elif word == "raise":
            raise RuntimeError(value)
        elif word == "exit":
            return int(value)
    return 0


def _sleep(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.02)
