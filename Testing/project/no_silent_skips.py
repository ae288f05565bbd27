"""Makes a skipped test fail where nothing may be missing: with SPINALCORDSEG_REQUIRE_DATA=1.

A test that asks for a GPU (mark ``gpu``) is left out of the run where there is none, and counted as such; every other
skip, of a test or of a whole file, becomes a failure that quotes the reason.
"""

import os
import shutil
import sys
from collections.abc import Generator

import pytest

VARIABLE = "SPINALCORDSEG_REQUIRE_DATA"


def _nothing_may_be_missing() -> bool:
    return os.environ.get(VARIABLE) == "1"


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.outcome == "skipped" and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{VARIABLE}=1 and this was skipped: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if _nothing_may_be_missing():
        _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if _nothing_may_be_missing():
        _fail_if_skipped(report)
    return report


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanting = [item for item in items if item.get_closest_marker("gpu")]
    if wanting and not _has_gpu():
        config.hook.pytest_deselected(items=wanting)
        items[:] = [item for item in items if item not in wanting]


def _has_gpu() -> bool:
    if shutil.which("nvidia-smi") is None and sys.platform != "darwin":
        return False  # spared the seconds that torch takes to load
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available()
