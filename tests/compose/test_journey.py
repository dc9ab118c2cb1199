"""`make up` from what a clone has, and a visitor's whole way: nine pictures, then a zip."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests import batches, pictures, zips
from tests.compose.engine import ROOT, docker
from tests.e2e.visitor import Visitor
from tests.servers import Service, free_port

LABELS = {
    "bison.jpg": "bison",
    "cat.jpg": "Egyptian cat",
    "espresso.jpg": "espresso",
    "german-shepherd.jpg": "German shepherd",
    "koala.jpg": "koala",
    "lemur.jpg": "Madagascar cat",
    "macaw.jpg": "macaw",
    "polar-bear.jpg": "ice bear",
    "viaduct.jpg": "viaduct",
}
SECONDS = 900


@pytest.fixture(scope="module")
def clone(images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What git has or would take, and nothing that was built or installed here."""
    folder = tmp_path_factory.mktemp("clone")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def ports(clone: Path) -> Iterator[dict[str, str]]:
    """Everything up by `make up`, on free ports."""
    (clone / "backend.env").write_text("NINEFOLD_MAX_IMAGES=10\nNINEFOLD_BUCKET=another\n")
    ports = {f"NINEFOLD_{name}": str(free_port()) for name in ("PORT", "PAGE_PORT", "CLOUD_PORT")}
    environment = {**os.environ, **ports, "COMPOSE_PROJECT_NAME": f"ninefold-journey-{os.getpid()}"}
    try:
        done = _make("up", clone, environment)
        assert done.returncode == 0, f"{done.stdout[-3000:]}{done.stderr[-3000:]}"
        assert f"Ninefold is ready: http://127.0.0.1:{ports['NINEFOLD_PAGE_PORT']}" in done.stdout
        yield ports
    finally:
        done = _make("down", clone, environment)
        named = f"label=com.docker.compose.project={environment['COMPOSE_PROJECT_NAME']}"
        left = [docker(kind, "ls", "--quiet", "--filter", named) for kind in ("container", "volume", "network")]
    assert (done.returncode, left) == (0, ["", "", ""]), done.stderr


@pytest.fixture
def server(ports: dict[str, str]) -> Iterator[Service]:
    service = Service(f"http://127.0.0.1:{ports['NINEFOLD_PORT']}")
    yield service
    service.client.close()


@pytest.mark.browser
def test_nine_pictures_are_named_rightly(page: Page, ports: dict[str, str], server: Service) -> None:
    visitor = Visitor(page, server).open(f"http://127.0.0.1:{ports['NINEFOLD_PAGE_PORT']}")
    visitor.give([ROOT / "frontend" / "samples" / name for name in LABELS])
    expect(visitor.answered).to_have_count(9)
    assert {name: visitor.best(name) for name in LABELS} == LABELS


@pytest.mark.browser
def test_a_zip_goes_from_the_browser_to_its_rows(
    page: Page, ports: dict[str, str], server: Service, tmp_path: Path
) -> None:
    photos = {name: pictures.sample(name) for name in LABELS}
    (tmp_path / "nine.zip").write_bytes(zips.of({**photos, "notes.txt": b"no picture"}))
    page.goto(f"http://127.0.0.1:{ports['NINEFOLD_PAGE_PORT']}/batch")
    page.locator("input[type=file]").set_input_files(tmp_path / "nine.zip")
    expect(page.get_by_role("button", name="Batch predict", exact=True)).to_be_enabled(timeout=120_000)
    page.get_by_role("button", name="Batch predict", exact=True).click()
    (batch,) = server.client.get("/v1/batches").json()["batches"]
    batches.wait_for(server, batch["id"], "done", seconds=60)
    rows = batches.rows(server, batch["id"])
    assert {row["name"]: row["predictions"][0]["label"] for row in rows if row["status"] == "ok"} == LABELS
    assert [row["name"] for row in rows if row["status"] != "ok"] == ["notes.txt"]


def test_a_setting_in_backend_env_is_the_servers_and_one_of_composes_own_goes_before_it(server: Service) -> None:
    """The bucket's name, which the file has as well, is Compose's own: a zip has just gone its way."""
    assert len(server.predict(*[("koala.jpg", pictures.sample("koala.jpg"))] * 10)) == 10


def _make(target: str, clone: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", target], cwd=clone, env=environment, capture_output=True, text=True, check=False, timeout=SECONDS
    )
