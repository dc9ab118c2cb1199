"""Keys and tokens: who gets in, who does not, what a refusal costs, and that no secret gets out."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, WebSocket
from pydantic import ValidationError
from starlette.routing import BaseRoute, Route
from structlog.testing import capture_logs

from backend.access import keys as ring_module
from backend.access.keys import KeyRing
from backend.access.middleware import OPEN
from backend.access.tokens import RENEWABLE_SECONDS, TOKEN_SECONDS, Grant, Tokens
from backend.app import create_app
from backend.settings import Settings
from contract.keys import Keys, new_key, new_keys
from tests import batches, pictures, zips
from tests.cameras import wait_for
from tests.servers import Service, process

ORIGIN = "https://page.example"
BATCH = "01J00000000000000000000000"


class KeyFile:
    """A keys file with one key. `sent`: what its holder sends."""

    def __init__(self, path: Path, **limits: int) -> None:
        self.path = path
        self.key, self.sent = new_key("the page", **limits)
        self.write(replace(new_keys(), keys=(self.key,)))

    def write(self, keys: Keys) -> None:
        self.keys = keys
        self.write_bytes(keys.encode())

    def write_bytes(self, data: bytes) -> None:
        """In one step, as the command line does it."""
        fresh = self.path.with_suffix(".new")
        fresh.write_bytes(data)
        fresh.replace(self.path)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KeyFile:
    monkeypatch.setattr(ring_module, "LOOK_SECONDS", 0.0)
    return KeyFile(tmp_path / "keys.json")


@pytest.fixture
def app(file: KeyFile, tmp_path: Path) -> FastAPI:
    """A server that was never started: who is refused reaches nothing of it."""
    return create_app(Settings(models_dir=tmp_path, keys_file=file.path, page_origins=ORIGIN))


def asking(app: FastAPI, test: Callable[[httpx.AsyncClient], Awaitable[Any]]) -> Any:
    """Runs it with a client of the application, without sockets."""

    async def main() -> Any:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await test(client)

    return asyncio.run(main())


def ask(app: FastAPI, method: str, path: str, sent: str = "", **more: Any) -> httpx.Response:
    """One request, with a key or token if there is one."""
    headers = {"Authorization": f"Bearer {sent}"} if sent else {}
    return asking(app, lambda client: client.request(method, path, headers=headers, **more))


def every(routes: list[BaseRoute], before: str = "") -> Iterator[tuple[str, str]]:
    """(method, path) of every route, those of routers and mounts too; a mount's own path stands for its files."""
    for route in routes:
        path = before + str(getattr(route, "path", ""))
        inner = getattr(getattr(route, "original_router", route), "routes", None)
        if inner:
            yield from every(list(inner), path)
        elif isinstance(route, Route):
            for method in route.methods or ():
                yield method, path.replace("{entry}", "1").replace("{batch}", "x")
        else:
            yield "GET", f"{path}/x"


def test_without_a_key_everything_but_health_is_refused(app: FastAPI, file: KeyFile) -> None:
    known = set(every(app.routes))
    assert {("POST", "/v1/predict"), ("GET", "/docs"), ("GET", "/openapi.json"), ("DELETE", "/v1/batches/x")} <= known
    assert {path for _, path in known} >= OPEN
    asked = {each for each in known if each[1] not in OPEN}
    asked |= {("GET", "/nowhere"), ("POST", "/v2/anything"), ("OPTIONS", "/v1/predict"), ("GET", "/metrics/")}
    wrong = f"{file.sent[:-1]}{'A' if file.sent[-1] != 'A' else 'B'}"

    async def test(client: httpx.AsyncClient) -> None:
        for method, path in asked:
            for sent in ("", wrong, f"nf_{'0' * 8}_{'x' * 43}", "nf_", "\xff", "x" * 9000):
                headers = {b"authorization": b"Bearer " + sent.encode("latin-1")} if sent else {}
                answer = await client.request(method, path, headers=headers)
                assert answer.status_code == 401, (method, path, sent)
                assert answer.headers["www-authenticate"] == "Bearer"
                if path.startswith("/v2"):  # its protocol has words alone
                    assert isinstance(answer.json()["error"], str)
                elif method != "HEAD":
                    assert answer.json()["error"]["code"] == "unauthorized"

    asking(app, test)


@pytest.mark.parametrize("header", [{"Authorization": "bearer {}"}, {"X-API-Key": "{}"}, {"x-api-key": " {} "}])
def test_a_key_is_taken_in_either_header(app: FastAPI, file: KeyFile, header: dict[str, str]) -> None:
    headers = {name: value.format(file.sent) for name, value in header.items()}
    assert asking(app, lambda client: client.get("/openapi.json", headers=headers)).status_code == 200


def test_the_words_say_what_to_do(app: FastAPI, file: KeyFile) -> None:
    assert "ninefold keys add" in ask(app, "GET", "/v1/models").json()["error"]["message"]
    assert "revoked" in ask(app, "GET", "/v1/models", "nf_00000000_x").json()["error"]["message"]
    assert "Reload" in ask(app, "GET", "/v1/models", "what").json()["error"]["message"]


def test_ten_thousand_wrong_keys_cost_the_right_one_nothing(
    app: FastAPI, file: KeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted, not timed: hashes and calls of a refusal, calls of a right request before and after, the log's lines."""
    hashes, real = Counter[str](), ring_module.digest

    def digest(sent: str) -> str:
        hashes["digest"] += 1
        return real(sent)

    monkeypatch.setattr(ring_module, "digest", digest)
    wrong, unknown = f"{file.sent[:-2]}xx", f"nf_{'0' * 8}_{'x' * 43}"

    async def test() -> tuple[int, int, int, int]:
        assert await status_of(app, file.sent) == 200
        before = await calls(app, file.sent, 200)
        refused = await calls(app, wrong, 401), await calls(app, unknown, 401)
        for _ in range(5_000):
            assert (await status_of(app, wrong), await status_of(app, unknown)) == (401, 401)
        return before, await calls(app, file.sent, 200), *refused

    started = time.monotonic()
    with capture_logs() as lines:
        before, after, wrong_calls, unknown_calls = asyncio.run(test())
    # A request more or less is a line in the log more or less.
    assert (
        abs(after - before) <= 40 and max(wrong_calls, unknown_calls) < 200 and abs(wrong_calls - unknown_calls) <= 40
    )
    assert hashes["digest"] == 10_000 + 2 + 3
    assert app.state.metrics.registry.get_sample_value("ninefold_refused_keys_total") == 10_002
    refusals = [line for line in lines if line.get("status") == 401]
    assert len(refusals) <= 2 + time.monotonic() - started
    assert refusals[0]["refused"] == 1  # each line has how many there were until then


async def status_of(app: FastAPI, sent: str) -> int:
    """GET /openapi.json as a server hands it over."""
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        statuses.append(message.get("status", 0))

    headers = [(b"host", b"localhost"), (b"authorization", b"Bearer " + sent.encode())]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": "/openapi.json", "raw_path": b"/openapi.json", "query_string": b"", "root_path": "", "headers": headers,
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
    }  # fmt: skip
    await app(scope, receive, send)  # type: ignore[arg-type]
    return statuses[0]


async def calls(app: FastAPI, sent: str, status: int) -> int:
    """Python functions that this thread calls for one request."""
    count = 0

    def note(frame: Any, event: str, _: Any) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(note)
    try:
        answered = await status_of(app, sent)
    finally:
        sys.setprofile(None)
    assert answered == status
    return count


def test_the_file_is_followed_and_a_damaged_one_changes_nothing(app: FastAPI, file: KeyFile) -> None:
    second, sent = new_key("another")
    file.write(replace(file.keys, keys=(file.key, second)))
    assert ask(app, "GET", "/openapi.json", sent).status_code == 200
    file.write(replace(file.keys, keys=(second,)))
    assert ask(app, "GET", "/openapi.json", file.sent).status_code == 401  # revoked
    with capture_logs() as lines:
        for bad in (b'{"token_secret"', b"", b'{"token_secret": "' + b"x" * 40 + b'", "keys": []}'):
            file.write_bytes(bad)
            assert [ask(app, "GET", "/openapi.json", sent).status_code for _ in range(3)] == [200] * 3
        file.path.unlink()
        assert ask(app, "GET", "/openapi.json", sent).status_code == 200
    assert len([line for line in lines if line["log_level"] == "error"]) == 4  # each once


def test_a_revocation_is_not_lost_by_a_file_that_cannot_be_read_once(
    app: FastAPI, file: KeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, _ = new_key("another")
    read_bytes, failing = Path.read_bytes, [True] * 3

    def failing_at_first(path: Path) -> bytes:
        if path == file.path and failing:
            failing.pop()
            raise OSError(errno.EMFILE, "Too many open files")
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", failing_at_first)
    file.write(replace(file.keys, keys=(other,)))
    with capture_logs() as lines:
        statuses = [ask(app, "GET", "/openapi.json", file.sent).status_code for _ in range(5)]
    assert statuses == [200] * 3 + [401] * 2
    assert [line["log_level"] for line in lines if "keys" in line["event"]] == ["error", "info"]  # each once


def test_a_server_does_not_start_on_a_file_that_it_cannot_use(tmp_path: Path) -> None:
    empty, damaged = tmp_path / "empty.json", tmp_path / "damaged.json"
    empty.write_bytes(new_keys().encode())
    damaged.write_text("no json")
    for path, words in ((tmp_path / "none", "ninefold keys add"), (empty, "has no key"), (damaged, "damaged")):
        with pytest.raises(ValidationError, match=words):
            Settings(keys_file=path)


def test_a_key_with_a_limit_is_told_when_to_come_back(tmp_path: Path) -> None:
    limited, other = KeyFile(tmp_path / "keys.json", requests_per_minute=3), new_key("unlimited")
    limited.write(replace(limited.keys, keys=(limited.key, other[0])))
    app = create_app(Settings(models_dir=tmp_path, keys_file=limited.path))
    answers = [ask(app, "GET", "/openapi.json", limited.sent) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200] * 3 + [429] * 2
    assert answers[-1].json()["error"]["code"] == "rate_limited"
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
    assert [ask(app, "GET", "/openapi.json", other[1]).status_code for _ in range(5)] == [200] * 5
    assert ask(app, "GET", "/openapi.json", f"{limited.sent}x").status_code == 401


def token(app: FastAPI, file: KeyFile, purpose: str, **more: str) -> dict[str, Any]:
    """As the page's process asks for it."""
    answer = ask(app, "POST", "/v1/tokens", file.sent, json={"purpose": purpose, **more})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


@pytest.mark.parametrize(
    ("purpose", "method", "path", "status"),
    [
        ("upload", "GET", "/v1/batches", 403),
        ("upload", "GET", "/v1/models", 403),
        ("upload", "POST", "/v1/predict", 403),
        ("upload", "POST", "/v1/tokens", 403),
        ("upload", "GET", "/docs", 403),
        ("upload", "GET", f"/v1/batches/{BATCH}/upload", 403),
        ("upload", "DELETE", f"/v1/batches/{BATCH}", 403),
        ("upload", "POST", "/v1/batches/{own}/predict", 403),
        ("upload", "POST", "/v1/batches/{own}/preprocess", 403),
        ("upload", "GET", "/v1/batches/{own}/results", 403),
        ("upload", "GET", "/v1/batches/{own}/upload/", 403),
        ("upload", "GET", "/v1/batches/{own}%2f..%2fx", 403),
        ("results", "GET", "/v1/models", 401),
        ("live", "GET", "/v1/models", 401),
    ],
)
def test_a_token_is_good_for_nothing_else(
    app: FastAPI, file: KeyFile, purpose: str, method: str, path: str, status: int
) -> None:
    had = token(app, file, purpose, **({"batch": BATCH} if purpose == "results" else {}))
    assert ask(app, method, path.format(own=had["batch"]), had["token"]).status_code == status


@pytest.mark.parametrize(
    ("purpose", "method", "path", "status"),
    [
        ("results", "GET", "/v1/batches/another/results", 403),
        ("results", "GET", f"/v1/batches/{BATCH}", 403),
        ("results", "GET", f"/v1/batches/{BATCH}/upload", 403),
        ("results", "GET", f"/v1/batches/{BATCH}/pixels/1/2", 403),
        ("results", "POST", f"/v1/batches/{BATCH}/results", 403),
        ("results", "DELETE", f"/v1/batches/{BATCH}", 403),
        ("results", "GET", "/v1/batches", 403),
        ("upload", "GET", f"/v1/batches/{BATCH}/results", 401),
        ("live", "GET", f"/v1/batches/{BATCH}/results", 401),
    ],
)
def test_a_token_in_an_address_reads_the_results_of_its_batch(
    app: FastAPI, file: KeyFile, purpose: str, method: str, path: str, status: int
) -> None:
    had = token(app, file, purpose, **({"batch": BATCH} if purpose == "results" else {}))
    assert ask(app, method, path, params={"token": had["token"]}).status_code == status
    assert ask(app, method, path, params={"token": file.sent}).status_code == 401  # a key in an address is none


def test_tokens_end_and_cannot_be_changed(file: KeyFile, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = KeyRing(file.path)
    tokens, now = Tokens(ring), int(time.time())
    grant = Grant("upload", file.key.id, BATCH, now)
    made, end = tokens.issue(grant)
    assert tokens.verify(made, "upload") == grant and end - now in (TOKEN_SECONDS, TOKEN_SECONDS + 1)
    assert tokens.verify(made, "results") is None and tokens.verify(made, "live") is None
    changed = [made[:at] + ("A" if made[at] != "A" else "B") + made[at + 1 :] for at in range(len(made) - 1)]
    assert not any(tokens.verify(each, "upload") for each in ["", "x", made[:-3], f"{made}x", "a" * 5000, *changed])
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: now + TOKEN_SECONDS + 2)
    assert tokens.verify(made, "upload") is None
    renewed = tokens.renew(made)
    assert renewed and tokens.verify(renewed[1][0], "upload") == grant
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: now + RENEWABLE_SECONDS + 9)
    assert tokens.renew(made) is None
    monkeypatch.undo()
    old, _ = tokens.issue(replace(grant, since=now - RENEWABLE_SECONDS - 9))
    assert tokens.verify(old, "upload") and tokens.renew(old) is None  # renewed again and again, it ends too
    other, _ = new_key("another")
    monkeypatch.setattr(ring_module, "LOOK_SECONDS", 0.0)
    file.write(replace(file.keys, keys=(other,)))
    assert tokens.verify(made, "upload") is None  # with its key


def test_a_token_names_what_it_needs(app: FastAPI, file: KeyFile) -> None:
    for wanted in ({"purpose": "results"}, {"purpose": "upload", "batch": "x"}, {"purpose": "all"}, {}):
        assert ask(app, "POST", "/v1/tokens", file.sent, json=wanted).status_code == 422, wanted
    foreign = ask(app, "POST", "/v1/tokens/renew", file.sent, json={"token": "x"})
    assert (foreign.status_code, foreign.json()["error"]["code"]) == (409, "too_old")


def test_a_server_without_keys_says_that_it_needs_no_tokens(tmp_path: Path) -> None:
    app = create_app(Settings(models_dir=tmp_path))
    answer = ask(app, "POST", "/v1/tokens", json={"purpose": "upload"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "keys_off")


def test_a_live_connection_needs_a_token_of_its_own(app: FastAPI, file: KeyFile) -> None:
    reached: list[str] = []

    async def route(websocket: WebSocket) -> None:
        reached.append(websocket.scope["key"])
        await websocket.close()

    app.add_api_websocket_route("/v1/other", route)  # /v1/live itself: test_live.py

    async def knock(query: str, sent: str = "") -> list[Any]:
        said: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            said.append((message["type"], message.get("code")))

        headers = [(b"authorization", f"Bearer {sent}".encode())] if sent else []
        scope = {"type": "websocket", "path": "/v1/other", "query_string": query.encode(), "headers": headers}
        await app({**scope, "root_path": "", "subprotocols": []}, receive, send)  # type: ignore[arg-type]
        return said

    live, upload = token(app, file, "live")["token"], token(app, file, "upload")["token"]
    refused = [("websocket.close", 1008)]
    for query, sent in (("", ""), ("token=x", ""), (f"token={upload}", ""), ("", upload), ("", "nf_00000000_x")):
        assert asyncio.run(knock(query, sent)) == refused
    assert reached == []
    asyncio.run(knock(f"token={live}"))
    asyncio.run(knock("", file.sent))
    assert reached == [file.key.id] * 2


def test_only_the_pages_scripts_may_send_a_token(app: FastAPI) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}

    def preflight(origin: str) -> httpx.Response:
        headers = {"Origin": origin, **asked}
        return asking(app, lambda client: client.options("/v1/batches", headers=headers))

    allowed = preflight(ORIGIN)
    assert allowed.status_code == 200 and "authorization" in allowed.headers["access-control-allow-headers"].lower()
    assert "access-control-allow-origin" not in preflight("https://other.example").headers
    of_programs = ("x-api-key", "inference-header-content-length")
    headers = {"Origin": ORIGIN, **asked, "Access-Control-Request-Headers": ",".join(of_programs)}
    binary = asking(app, lambda client: client.options("/v2/models/x/infer", headers=headers))
    allowed_too = binary.headers["access-control-allow-headers"].lower()
    assert binary.status_code == 200 and all(name in allowed_too for name in of_programs)
    refused = asking(app, lambda client: client.get("/v1/batches", headers={"Origin": ORIGIN}))
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, ORIGIN)  # its words are read
    assert "inference-header-content-length" in refused.headers["access-control-expose-headers"].lower()


def test_answers_are_not_kept_guessed_or_framed(app: FastAPI, file: KeyFile) -> None:
    for answer in (ask(app, "GET", "/v1/models"), ask(app, "GET", "/openapi.json", file.sent)):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert len(answer.headers["x-request-id"]) == 32
    documentation = ask(app, "GET", "/docs", file.sent).headers
    assert "default-src 'self'" in documentation["content-security-policy"] and "cache-control" not in documentation


@pytest.fixture(scope="module")
def guarded(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, KeyFile]]:
    """A real server with batches that asks for a key; its client has it."""
    file = KeyFile(tmp_path_factory.mktemp("keys") / "keys.json")
    with pytest.MonkeyPatch.context() as monkeypatch, batches.storage() as started:
        settings = batches.use(monkeypatch, started)
        environment = {f"NINEFOLD_{name.upper()}": str(value) for name, value in settings.items()}
        with process(models_dir, NINEFOLD_KEYS_FILE=str(file.path), **environment) as service:
            service.wait_ready()  # without the key
            service.client.headers["Authorization"] = f"Bearer {file.sent}"
            yield service, file


def log_of(service: Service) -> str:
    """All that it has written so far."""
    assert service.log
    return os.pread(service.log.fileno(), 10**8, 0).decode()  # its place in the file is where the server writes


def knock_by_websocket(service: Service, query: str) -> None:
    """Asks for one, is refused, and waits for the log's line, which is written after the answer."""
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    httpx.get(f"{service.url}/v1/live{query}", headers={**upgrade, "Sec-WebSocket-Key": "c2l4dGVlbiBieXRlcyEhIQ=="})
    wait_for(lambda: '"/v1/live"' in log_of(service))


def test_a_browsers_upload_by_its_token(guarded: tuple[Service, KeyFile]) -> None:
    """The whole way of the page's script, over sockets; and what the log then holds."""
    service, file = guarded
    had = service.client.post("/v1/tokens", json={"purpose": "upload"}).json()
    data = zips.of({"koala.jpg": pictures.sample("koala.jpg")})
    with httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {had['token']}"}) as client:
        browser = Service(service.url)
        browser.client = client
        announced = {"filename": "photos.zip", "size_bytes": len(data)}
        first, again = (client.post("/v1/batches", json=announced) for _ in range(2))  # an answer may have been lost
        assert first.json() == again.json() and first.json()["id"] == had["batch"]
        other = client.post("/v1/batches", json={**announced, "filename": "others.zip"})
        assert (other.status_code, other.json()["error"]["code"]) == (409, "wrong_state")
        renewed = client.post("/v1/tokens/renew", json={"token": had["token"]}).json()
        assert renewed["batch"] == had["batch"]
        client.headers["Authorization"] = f"Bearer {renewed['token']}"
        assert batches.upload(browser, data) == had["batch"]
        assert batches.state(browser, had["batch"])["state"] == "uploaded"
        assert client.delete(f"/v1/batches/{had['batch']}").status_code == 409  # it has arrived
    read = service.client.post("/v1/tokens", json={"purpose": "results", "batch": had["batch"]}).json()["token"]
    address = f"{service.url}/v1/batches/{had['batch']}/results?token={read}"
    assert httpx.get(address).json()["error"]["code"] != "unauthorized"  # there are none yet, and it says that
    assert service.client.delete(f"/v1/batches/{had['batch']}").status_code == 204
    knock_by_websocket(service, f"?token={had['token']}&key={file.sent}")
    written = log_of(service)
    *lines, knock = [json.loads(line) for line in written.splitlines() if '"request"' in line]
    assert len(lines) >= 10 and {line.get("key") for line in lines} == {file.key.id}
    assert (knock["path"], knock["status"]) == ("/v1/live", 401) and "key" not in knock
    for secret in (file.sent, file.sent.split("_", 2)[2], had["token"], renewed["token"], read, file.keys.token_secret):
        assert secret not in written


def test_a_picture_is_answered_with_a_key_and_not_without(guarded: tuple[Service, KeyFile]) -> None:
    service, _ = guarded
    assert service.predict(("koala.jpg", pictures.sample("koala.jpg")))[0]["predictions"][0]["label"] == "koala"
    assert httpx.post(f"{service.url}/v1/predict", content=b"x" * 100_000).status_code == 401
    assert {"/v2/health/live", "/v2/health/ready"} < OPEN
    assert [httpx.get(service.url + path).status_code for path in sorted(OPEN)] == [200] * 5
