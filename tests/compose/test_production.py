"""The production overlay as the world sees it: through the proxy, over TLS."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Browser, expect
from websockets.exceptions import InvalidStatus

from scripts.browser import find_browser
from scripts.containers import Docker
from tests import zips
from tests.cameras import answer
from tests.compose.engine import docker
from tests.compose.site import SETTINGS, Site, trusting
from tests.compose.visit import visit
from tests.e2e.harness import ARGUMENTS
from tests.e2e.live_visitor import LiveVisitor, film, fitted
from tests.pictures import sample

KOALA = {"images": ("koala.jpg", sample("koala.jpg"), "image/jpeg")}
HEADERS = {
    "strict-transport-security": "max-age=31536000",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
}


def test_without_a_key_there_is_health_and_nothing_else(site: Site) -> None:
    with site.client() as nobody, site.client("nf_00000000_wrong") as stranger:
        for path in ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"):
            assert nobody.get(path).status_code == 200
        for client in (nobody, stranger):
            for path in ("/v1/models", "/v1/batches", "/v1/batches/any", "/docs", "/openapi.json"):
                refused = client.get(path)
                assert (refused.status_code, refused.json()["error"]["code"]) == (401, "unauthorized"), path
            for path in ("/v2", "/v2/health", "/v2/health/anything", "/v2/models/resnet18-seeded", "/v2/anything"):
                assert client.get(path).status_code == 401, path
            # Refused before the picture has come: the answer must arrive all the same, each time.
            assert {client.post("/v1/predict", files=KOALA).status_code for _ in range(40)} == {401}
    with site.client(site.key) as known:
        assert known.post("/v1/predict", files=KOALA).json()["results"][0]["predictions"][0]["label"] == "koala"
        page = known.get("/docs")
        assert page.status_code == 200 and "/static-offline-docs/" in page.text


@pytest.mark.parametrize("path", ["/metrics", "//metrics", "/metrics/", "/%6detrics", "/_stcore/metrics"])
def test_the_figures_are_not_for_the_world(site: Site, path: str) -> None:
    with site.client(site.key) as client:
        assert client.get(f"{site.url}{path}").status_code == 404


@pytest.mark.parametrize("path", ["/", "/batch", "/readyz", "/v1/models", "/metrics"])
def test_every_answer_has_the_headers(site: Site, path: str) -> None:
    with site.client() as client:
        answer = client.get(path)
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
    assert "server" not in answer.headers


@pytest.mark.browser
def test_a_zip_goes_from_a_signed_in_browser_to_its_rows(site: Site, browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "two.zip").write_bytes(zips.of({name: sample(name) for name in ("koala.jpg", "macaw.jpg")}))
    with visit(browser, site, "/batch") as visitor:
        visitor.page.locator("input[type=file]").set_input_files(tmp_path / "two.zip")
        ready = visitor.page.get_by_role("button", name="Batch predict", exact=True)
        expect(ready).to_be_enabled(timeout=120_000)
        ready.click()
        visitor.sees("macaw", seconds=60)
        sent = " ".join(visitor.sent)
    assert "Bearer " in sent and site.key not in sent and site.page_key not in sent


# -- live connections ------------------------------------------------------------------------------------------------


def refusal(site: Site, key: str | None = None, query: str = "", **more: str) -> tuple[int, str]:
    """Status and code of what is answered in place of the upgrade."""
    with pytest.raises(InvalidStatus) as refused, site.live(key, query, **more):
        pass
    response = refused.value.response
    assert {name: response.headers.get(name) for name in HEADERS} == HEADERS
    return response.status_code, json.loads(response.body)["error"]["code"]


def test_a_frame_is_answered_over_tls_and_nobody_gets_in_without_a_key(site: Site) -> None:
    with site.live(site.key, "?top_k=3") as camera:
        camera.send(sample("koala.jpg"))
        got = answer(camera)
        assert got["labels"][0]["label"] == "koala" and len(got["labels"]) == 3
    assert refusal(site) == refusal(site, "nf_00000000_wrong") == (401, "unauthorized")
    assert refusal(site, site.key, "?model=alexnet") == (404, "unknown_model")
    assert refusal(site, site.key, "?filter=1") == (409, "filter_missing")  # this image was built without LIVE=1


def test_a_token_is_good_for_the_pages_scripts_and_for_no_others(site: Site) -> None:
    with site.client(site.key) as client:
        token = client.post("/v1/tokens", json={"purpose": "live"}).json()["token"]
    with site.live(query=f"?token={token}", origin=site.url) as camera:
        camera.send(sample("macaw.jpg"))
        assert answer(camera)["labels"][0]["label"] == "macaw"
    assert refusal(site, query=f"?token={token}", origin="https://elsewhere.example") == (403, "origin_not_allowed")


@pytest.fixture(scope="module")
def with_camera(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser whose camera sees a koala."""
    koala = fitted(Image.open(io.BytesIO(sample("koala.jpg"))))
    shown = film(tmp_path_factory.mktemp("film") / "koala.mjpeg", [koala], 8)
    arguments = [*ARGUMENTS, f"--use-file-for-fake-video-capture={shown}"]
    other = browser.browser_type.launch(executable_path=find_browser(), args=arguments)
    yield other
    other.close()


@pytest.mark.browser
def test_a_signed_in_browser_shows_its_camera_to_the_server(site: Site, with_camera: Browser) -> None:
    with visit(with_camera, site, "/live") as visitor:
        live = LiveVisitor(visitor.page, site.url)
        expect(live.button("Start")).to_be_enabled()
        live.start()
        expect(live.labels.first).to_have_text("koala")
        assert site.page_key not in " ".join(visitor.sent)


# -- what runs ---------------------------------------------------------------------------------------------------------


def test_the_server_has_the_settings_of_its_file_but_for_what_compose_sets_itself(site: Site) -> None:
    container = site.compose("ps", "--quiet", "backend")
    has = docker("exec", container, "printenv").splitlines()
    assert {"NINEFOLD_MAX_INFER_IMAGES=65", "NINEFOLD_DRAIN_SECONDS=5"} <= set(has)


def test_other_settings_in_the_file_are_another_container(site: Site) -> None:
    """A roll tells by this hash whether what it is to start runs already."""
    file, asked = site.folder / "backend.env", Docker(site.folder, {})
    (runs,) = asked.containers("backend")
    assert asked.config_of("backend", {}) == runs.config
    try:
        file.write_text(SETTINGS.replace("65", "66"))
        assert asked.config_of("backend", {}) != runs.config
        file.unlink()
        assert asked.config_of("backend", {}) != runs.config
    finally:
        file.write_text(SETTINGS)
    assert asked.config_of("backend", {}) == runs.config


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(site: Site) -> None:
    head = f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {site.key}\r\n"
    with (
        socket.create_connection(("127.0.0.1", site.port), timeout=10) as plain,
        trusting().wrap_socket(plain) as connection,
    ):
        connection.sendall(f"{head}Content-Length: 230000001\r\n\r\n".encode())
        said = connection.recv(4096).decode()
    assert said.startswith("HTTP/1.1 413") and "body_too_large" in said


def test_plain_http_is_sent_to_the_right_place(site: Site) -> None:
    where = site.named("NINEFOLD_HTTP_PORT")
    answer = httpx.get(f"http://{where}/v1/models?x=1", headers={"Host": "elsewhere.example"}, trust_env=False)
    assert (answer.status_code, answer.headers["location"]) == (308, f"{site.url}/v1/models?x=1")


def test_only_the_proxy_is_published(site: Site) -> None:
    for service, ports in (("backend", 0), ("frontend", 0), ("proxy", 2)):
        container = site.compose("ps", "--quiet", service)
        bound = json.loads(docker("inspect", "--format", "{{json .HostConfig.PortBindings}}", container))
        assert len(bound or {}) == ports, service


@pytest.mark.parametrize("service", ["backend", "frontend", "proxy"])
def test_a_container_may_do_little(site: Site, service: str) -> None:
    container = site.compose("ps", "--quiet", service)
    host = json.loads(docker("inspect", "--format", "{{json .HostConfig}}", container))
    assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and host["Memory"] > 0
    inside = "id -u; command -v pip gcc cc curl wget; touch /app/x 2>/dev/null && echo written; true"
    assert docker("exec", container, "sh", "-c", inside) == "10001"
