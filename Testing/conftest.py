"""What all tests share. The public data folder is optional: tests that need it skip, and say so, without it."""

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest_plugins = ("no_silent_skips",)  # a skip is a failure where SPINALCORDSEG_REQUIRE_DATA=1

os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp(prefix="user-")  # the user's own folder stays as it is
atexit.register(shutil.rmtree, os.environ["XDG_DATA_HOME"], ignore_errors=True)
os.fsync = lambda _: None  # 14 files a test wait for the disk, several milliseconds each; no test cuts the power
_CHECKOUT = Path(__file__).resolve().parents[1]
_asked_for: list[str] = []  # computers that somebody wanted to reach


def _shut_network(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: Python reports each use of a socket to it, whoever makes it."""
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"):
        place = arguments[1] if event in ("socket.connect", "socket.sendto") else arguments[0]
        host = place[0] if isinstance(place, tuple) else place
        if host not in (None, "", "localhost", "127.0.0.1", "::1") and isinstance(place, tuple | str):
            _asked_for.append(f"{event} {host}")
            raise OSError(f"the network is shut: {host}")


sys.addaudithook(_shut_network)


@pytest.fixture(autouse=True)
def network() -> Iterator[list[str]]:
    """No test, and so no command that a test runs in this process, asks another computer for anything."""
    yield _asked_for
    assert not _asked_for


def _data_folder() -> Path:
    named = os.environ.get("SPINALCORDSEG_DATA")
    return Path(named) if named else _CHECKOUT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public data: $SPINALCORDSEG_DATA, or ../shared/data beside the checkout.

    Skips when it is missing; fails instead when SPINALCORDSEG_REQUIRE_DATA=1 (continuous integration that has it).
    """
    folder = _data_folder()
    if folder.is_dir():
        return folder
    reason = f"PUBLIC DATA MISSING: no folder {folder} (set SPINALCORDSEG_DATA); this test did not run"
    if os.environ.get("SPINALCORDSEG_REQUIRE_DATA") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights file of an untrained RA-U-Net of width 1 on slices of 64²: it finds anything, but by the real way."""
    import torch

    from SpinalCordSegLib.model.checkpoint import Checkpoint, NetworkConfig, save_checkpoint
    from SpinalCordSegLib.model.networks import build_network
    from SpinalCordSegLib.model.preprocessing import NormalisationConfig

    torch.manual_seed(4)  # one that happens to find something
    network, normalisation = NetworkConfig("ra_unet", width=1), NormalisationConfig(kind="paper", size=64)
    weights, path = build_network(network).state_dict(), tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_checkpoint(Checkpoint("tiny", "0", network, normalisation, weights, provenance={"data": ["none"]}), path)
    return path


@pytest.fixture
def file_size_limit() -> Callable[[int], AbstractContextManager[None]]:
    """No file of this process grows beyond so many bytes meanwhile, as on a full disk. Only where POSIX is."""

    @contextmanager
    def limited(n_bytes: int) -> Iterator[None]:
        import resource

        former, keeps_none = resource.getrlimit(resource.RLIMIT_FSIZE), sys.dont_write_bytecode
        sys.dont_write_bytecode = True  # Python would keep what it can of a module, and fail on it from then on
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, former[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, former)
            sys.dont_write_bytecode = keeps_none

    return limited
