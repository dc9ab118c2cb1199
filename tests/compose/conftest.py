"""Containers by a real Docker: `make test-compose` runs these, `make test` does not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from scripts.compose import require_docker
from scripts.refusal import Refusal
from tests.compose.engine import IMAGES, docker
from tests.compose.site import Site, site_of
from tests.e2e.conftest import browser, page

__all__ = ["browser", "page"]

if os.environ.get("NINEFOLD_TEST_COMPOSE") != "1":
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def images() -> dict[str, str]:
    """The four images, built from this tree: service → tag."""
    try:
        require_docker()
    except Refusal as refusal:
        pytest.skip(f"no Docker: {refusal}")
    with ThreadPoolExecutor() as pool:  # one waits for the network while another computes
        list(pool.map(_build, IMAGES.items()))
    return IMAGES


def _build(image: tuple[str, str]) -> None:
    name, tag = image
    docker("build", "--quiet", "--file", f"{name}/Dockerfile", "--tag", tag, ".")


@pytest.fixture(scope="session")
def site(images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The production overlay with the stand-in in AWS's place, as a host has it after its first roll."""
    with site_of(images, tmp_path_factory.mktemp("host")) as started:
        yield started
