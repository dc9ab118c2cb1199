"""What every test may ask for, and the rule that a machine which promised everything may skip nothing."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest

pytest_plugins = ["tests.artefacts", "tests.disks"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Browsers last: they are the slowest, and Playwright's event loop then stays in the way of every asyncio.run."""
    items.sort(key=_in_browser)


def _in_browser(item: pytest.Item) -> bool:
    return item.get_closest_marker("browser") is not None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With REQUIRE_ALL=1 a skipped test is a failed one: what is not there must not look like what passed."""
    report = yield
    if _all_required() and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and REQUIRE_ALL=1 allows no skips: {_reason(report)}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a module or a folder that skips itself while it is collected."""
    report = yield
    if _all_required() and report.outcome == "skipped":
        report.outcome = "failed"
        report.longrepr = f"skipped, and REQUIRE_ALL=1 allows no skips: {_reason(report)}"
    return report


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of the sample photographs and their labels.csv. Mark what asks for it: `pytest.mark.samples`."""
    named = os.environ.get("NINEFOLD_SAMPLES")
    if not named:
        pytest.skip("NINEFOLD_SAMPLES does not name the folder of the sample photographs")
    folder = Path(named).resolve()
    if not (folder / "labels.csv").is_file():
        pytest.fail(f"NINEFOLD_SAMPLES names {folder}, which has no labels.csv")
    return folder


def _all_required() -> bool:
    return os.environ.get("REQUIRE_ALL") == "1"


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    longrepr = report.longrepr
    return str(longrepr[2]) if isinstance(longrepr, tuple) else str(longrepr)
