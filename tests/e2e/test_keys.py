"""The page before a server that asks for keys: signed in by a password, and no key in anything the browser sees."""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page, Request, WebSocket, expect
from typer.testing import CliRunner

from cli.main import app as command_line
from tests import batches, pictures
from tests.e2e.harness import page_process
from tests.localcloud.clouds import BUCKET, JOB, Cloud, cloud
from tests.servers import Service, free_port, process

pytestmark = pytest.mark.browser
PASSWORD = "correct horse battery"


@dataclass
class House:
    """Everything that runs, and the page's key."""

    address: str
    server: Service
    storage: Cloud
    key: str


@pytest.fixture(scope="module")
def house(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A page with a password, a server with keys, a storage; only the page's own origin may call them."""
    file, port = tmp_path_factory.mktemp("keys") / "keys.json", free_port()
    key = run("add", "--file", str(file), "--name", "page")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("NINEFOLD_API_KEY", key)
        environment.setenv("NINEFOLD_PAGE_SIGN_IN", "required")
        environment.setenv("NINEFOLD_PAGE_PASSWORD_HASH", run("password", stdin=f"{PASSWORD}\n"))
        with (
            page_process(f"http://127.0.0.1:{port}") as address,
            cloud(function=batches.DOES_NOTHING, page_origins=address) as storage,
            process(
                models_dir, port, **storage.env, NINEFOLD_KEYS_FILE=str(file), NINEFOLD_PAGE_ORIGINS=address,
                NINEFOLD_BUCKET=BUCKET, NINEFOLD_S3_ENDPOINT=storage.url, NINEFOLD_GLUE_JOB=JOB,
            ) as server,
        ):  # fmt: skip
            server.client.headers["Authorization"] = f"Bearer {key}"
            server.wait_ready()
            yield House(address, server, storage, key)


def run(*arguments: str, stdin: str = "") -> str:
    """`ninefold keys …`; what it prints."""
    done = CliRunner().invoke(command_line, ["keys", *arguments], input=stdin)
    assert done.exit_code == 0, done.stderr
    return done.stdout.strip()


class Ears:
    """All that the browser sends and gets: addresses, headers, bodies, frames of WebSockets."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.sent: list[str] = []
        self.got: list[str] = []
        self.tokens: set[str] = set()
        page.on("request", self._note)
        page.on("websocket", self._open)

    def _open(self, socket: WebSocket) -> None:
        socket.on(
            "framereceived", lambda data: self.got.append(data if isinstance(data, str) else data.decode("latin-1"))
        )

    def _note(self, request: Request) -> None:
        self.sent.append(json.dumps([request.url, request.headers, request.post_data]))
        self.tokens.add(request.headers.get("authorization", "").removeprefix("Bearer "))

    def never(self, *secrets: str) -> None:
        """None of these was among it, nor is in the page as it stands, nor in what the browser keeps."""
        kept = self.page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])")
        everything = "\n".join([*self.sent, *self.got, self.page.content(), kept])
        assert not [secret for secret in secrets if secret in everything]


def sign_in(page: Page, address: str) -> None:
    page.goto(address)
    page.get_by_label("Password", exact=True).fill(PASSWORD, timeout=30_000)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("input[type=file]")).to_be_attached(timeout=30_000)


def zip_of(path: Path, noise: float = 0) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        for name in ("koala.jpg", "cat.jpg"):
            made.writestr(name, pictures.sample(name))
        if noise:
            made.writestr("noise.bin", os.urandom(int(noise * 1e6)))
    return path


def newest(house: House) -> dict[str, object]:
    return dict(house.server.client.get("/v1/batches").json()["batches"][0])


def test_a_zip_and_its_results_without_a_key_in_the_browser(page: Page, house: House, tmp_path: Path) -> None:
    ears = Ears(page)
    sign_in(page, f"{house.address}/batch")
    page.locator("input[type=file]").set_input_files(zip_of(tmp_path / "first.zip"))
    expect(page.locator(".words")).to_contain_text("has arrived")
    first = str(newest(house)["id"])
    page.locator("input[type=file]").set_input_files(zip_of(tmp_path / "second.zip"))  # by another token
    expect(page.locator(".words")).to_contain_text("second.zip")
    expect(page.locator(".words")).to_contain_text("has arrived")
    batches.within(10, lambda: newest(house)["id"] != first)
    handed = [token for token in ears.tokens if token and any(token in frame for frame in ears.got)]
    assert len(handed) == 2  # so what the page hands out is heard here
    batches.preprocess(house.storage, first)
    assert batches.predict(house.server, first).status_code == 202
    batches.wait_for(house.server, first, "done")
    page.locator("[class*='st-key-pick-']").filter(has=page.get_by_text("first.zip", exact=True)).get_by_role(
        "button"
    ).click()
    image = page.locator(".nf-tile img").first
    expect(image).to_have_attribute("src", re.compile(rf"/v1/batches/{first}/pixels/\d+\?token="))
    image.scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('.nf-tile img').naturalWidth === 224")
    with page.expect_download() as coming:
        page.get_by_role("link", name="JSON", exact=True).click()
    rows = json.loads(Path(coming.value.path()).read_text(encoding="utf-8"))["results"]
    assert {row["predictions"][0]["label"] for row in rows} >= {"koala"}
    ears.never(house.key, house.key.split("_", 2)[2], PASSWORD)


def test_an_upload_goes_on_after_a_reload_by_its_old_token_and_the_sign_in(
    page: Page, house: House, tmp_path: Path
) -> None:
    file, second_part = zip_of(tmp_path / "long.zip", noise=9), re.compile("partNumber=2&")
    sign_in(page, f"{house.address}/batch")
    page.route(second_part, lambda route: route.abort())
    page.locator("input[type=file]").set_input_files(file)
    batch = "Object.keys(localStorage).filter(key => key.startsWith('ninefold')).map(key => localStorage.getItem(key))"
    page.wait_for_function(f"{batch}.some(text => JSON.parse(text).marks[1])")
    (record,) = [json.loads(text) for text in page.evaluate(batch)]
    page.on("dialog", lambda dialog: dialog.accept())
    # As if an hour had passed: the token is over for the browser, which then needs a fresh one of the page.
    page.evaluate(
        f"localStorage.setItem('ninefold.upload.{record['id']}', JSON.stringify({{...{json.dumps(record)}, had: 0}}))"
    )
    page.unroute(second_part)
    sign_in(page, f"{house.address}/batch")
    expect(page.locator(".kept")).to_contain_text("was interrupted")
    page.locator("input[type=file]").set_input_files(file)
    expect(page.locator(".words")).to_contain_text("has arrived", timeout=30_000)
    assert batches.state(house.server, record["id"])["size_bytes"] == file.stat().st_size


def test_a_camera_without_a_key_in_the_browser(page: Page, house: House) -> None:
    ears, opened = Ears(page), []
    page.on("websocket", lambda socket: opened.append(socket.url))
    sign_in(page, house.address)
    page.get_by_role("link", name="Live", exact=True).click()
    page.get_by_role("button", name="Start", exact=True).click(timeout=30_000)
    expect(page.locator(".seen li")).to_have_count(5)
    (address,) = [url for url in opened if "/v1/live?" in url]
    assert "&token=" in address and f"{house.server.url[4:]}/v1/live" in address
    ears.never(house.key, house.key.split("_", 2)[2], PASSWORD)


def test_without_the_password_there_is_nothing_to_see_on_any_page(page: Page, house: House) -> None:
    ears = Ears(page)
    for path in ("", "/batch", "/batch?batch=x", "/live"):
        page.goto(house.address + path)
        expect(page.get_by_label("Password", exact=True)).to_be_visible(timeout=30_000)
        expect(page.locator("input[type=file]")).to_have_count(0)
    page.get_by_label("Password", exact=True).fill("wrong horse")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("This is not the password.")).to_be_visible()
    ears.never(house.key, '"token":')
