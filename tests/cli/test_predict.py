"""`ninefold predict`: the same answers with a server and without one, a table or JSON, and honest exit codes."""

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from inference.openvino_classifier import OpenVinoClassifier
from tests import pictures
from tests.servers import ROOT, Service, free_port, serve

KOALA = str(pictures.SAMPLES / "koala.jpg")
MACAW = str(pictures.SAMPLES / "macaw.jpg")


@pytest.fixture(scope="module")
def server(models_dir: Path) -> Iterator[Service]:
    with serve(models_dir) as service:
        yield service


def ninefold(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def rows(result: Result) -> list[dict]:
    return json.loads(result.stdout)["results"]


def test_a_picture_is_named_without_any_server(models_dir: Path) -> None:
    result = ninefold("predict", KOALA, "--models-dir", str(models_dir))
    assert result.exit_code == 0
    assert "efficientnet_lite0 fp32" in result.stdout and "koala.jpg" in result.stdout and "koala " in result.stdout


def test_a_picture_is_named_on_a_device_that_is_there(models_dir: Path) -> None:
    where = ["--models-dir", str(models_dir), "--device"]
    assert "koala " in ninefold("predict", KOALA, *where, "hetero:cpu").stdout
    refused = ninefold("predict", KOALA, *where, "NPU")
    assert refused.exit_code == 2 and "OpenVINO finds no NPU here" in refused.stderr


def test_json_has_the_shape_of_the_api_and_the_servers_answers(models_dir: Path, server: Service) -> None:
    here = ninefold("predict", KOALA, MACAW, "--json", "--top-k", "3", "--models-dir", str(models_dir))
    there = ninefold("predict", KOALA, MACAW, "--json", "--top-k", "3", "--server", server.url)
    assert here.exit_code == there.exit_code == 0
    ours, theirs = json.loads(here.stdout), json.loads(there.stdout)
    assert set(ours) == {"model", "precision", "results"} and (ours["model"], ours["precision"]) == (
        theirs["model"],
        theirs["precision"],
    )
    assert (
        [row["name"] for row in ours["results"]]
        == [row["name"] for row in theirs["results"]]
        == ["koala.jpg", "macaw.jpg"]
    )
    for mine, its in zip(ours["results"], theirs["results"], strict=True):
        assert len(mine["predictions"]) == 3
        for a, b in zip(mine["predictions"], its["predictions"], strict=True):
            assert a["label"] == b["label"] and a["probability"] == pytest.approx(b["probability"], abs=1e-6)


def test_more_than_nine_pictures_go_in_several_requests(server: Service) -> None:
    before = server.metric('ninefold_http_requests_total{method="POST",route="/v1/predict",status="200"}')
    result = ninefold("predict", *[KOALA, MACAW] * 10, "--json", "--server", server.url)
    assert [row["predictions"][0]["label"] for row in rows(result)] == ["koala", "macaw"] * 10
    assert server.metric('ninefold_http_requests_total{method="POST",route="/v1/predict",status="200"}') == before + 3


@pytest.mark.parametrize("with_server", [True, False])
def test_exit_code_1_when_a_picture_failed_and_the_others_are_answered(
    with_server: bool, tmp_path: Path, models_dir: Path, server: Service
) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    where = ["--server", server.url] if with_server else ["--models-dir", str(models_dir)]
    result = ninefold(
        "predict", KOALA, str(tmp_path / "text.jpg"), str(tmp_path / "absent.jpg"), MACAW, "--json", *where
    )
    assert result.exit_code == 1
    assert [row["status"] for row in rows(result)] == ["ok", "error", "error", "ok"]
    assert [row["error"]["code"] for row in rows(result)[1:3]] == ["unsupported_format", "unreadable"]


def test_unreadable_pictures_alone_reach_no_server(tmp_path: Path) -> None:
    result = ninefold("predict", str(tmp_path / "a.jpg"), "--json", "--server", f"http://127.0.0.1:{free_port()}")
    assert result.exit_code == 1 and rows(result)[0]["error"]["code"] == "unreadable"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--server", "http://127.0.0.1:1"], "make run"),
        (["--server", "nonsense"], "does not answer"),
        (["--server", "http://[::"], "no server's address"),
        (["--models-dir", "/nowhere"], "ninefold models build"),
    ],
)
def test_exit_code_2_and_a_sentence_when_nothing_can_be_answered(arguments: list[str], word: str) -> None:
    result = ninefold("predict", KOALA, *arguments)
    assert result.exit_code == 2 and word in result.stderr and not result.stdout


def test_an_unknown_model_is_refused_here_and_there(models_dir: Path, server: Service) -> None:
    for where in (["--server", server.url], ["--models-dir", str(models_dir)]):
        result = ninefold("predict", KOALA, "--model", "alexnet", *where)
        assert result.exit_code == 2 and "Known models" in result.stderr


def test_hostile_names_do_not_reach_the_terminal(tmp_path: Path, models_dir: Path) -> None:
    path = tmp_path / "\x1b[31m[red]x.jpg"
    shutil.copy(KOALA, path)
    result = ninefold("predict", str(path), "--models-dir", str(models_dir))
    assert result.exit_code == 0 and "\x1b" not in result.stdout and "[red]" in result.stdout


def test_names_that_are_no_utf8_are_answered(tmp_path: Path, models_dir: Path, server: Service) -> None:
    path = tmp_path / b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    try:
        shutil.copy(KOALA, path)
    except OSError:
        pytest.skip("this file system has UTF-8 names only")
    for where in (["--server", server.url], ["--models-dir", str(models_dir)]):
        result = ninefold("predict", str(path), "--json", *where)
        assert result.exit_code == 0 and rows(result)[0]["name"] == "caf?.jpg"


def test_a_damaged_model_is_one_sentence(tmp_path: Path, models_dir: Path) -> None:
    shutil.copytree(models_dir / "efficientnet_lite0", tmp_path / "efficientnet_lite0")
    (tmp_path / "efficientnet_lite0" / "fp32" / "model.bin").write_bytes(b"")
    result = ninefold("predict", KOALA, "--models-dir", str(tmp_path))
    assert result.exit_code == 2 and "--force" in result.stderr


@contextmanager
def scripted(*statuses: int, retry_after: str = "0") -> Iterator[str]:
    """The address of a server that answers these, one a request, and then takes no more connections."""
    left = iter(statuses)

    class Scripted(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["content-length"])).count(b"filename=")
            status = next(left, None)
            if status is None:
                return  # and with that the connection ends
            row = {"name": "k", "status": "ok", "predictions": []}
            body = {"model": "m", "precision": "p", "results": [row] * sent}
            if status != 200:
                body = {"error": {"code": "overloaded", "message": "Later."}}
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Retry-After", retry_after)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
    assert next(left, None) is None


def test_a_busy_server_is_asked_again_when_it_says() -> None:
    with scripted(429, 503, 200) as url:
        result = ninefold("predict", KOALA, "--json", "--server", url)
    assert result.exit_code == 0


def test_a_proxy_may_say_a_date() -> None:
    with scripted(503, 200, retry_after="Sun, 22 Nov 2026 09:00:00 GMT") as url:
        assert ninefold("predict", KOALA, "--server", url).exit_code == 0


@pytest.mark.parametrize(
    ("statuses", "says"),
    [((200, 413), "Later."), ((200, 429, 429, 429, 429, 429), "Later."), ((200,), "does not answer")],
)
def test_what_was_answered_is_told_when_a_later_request_fails(statuses: tuple[int, ...], says: str) -> None:
    with scripted(*statuses) as url:
        result = ninefold("predict", *[KOALA] * 20, "--json", "--server", url)
    found = rows(result)
    assert result.exit_code == 1 and [row["status"] for row in found] == ["ok"] * 9 + ["error"] * 11
    for row in found[9:]:
        assert row["name"] == "koala.jpg" and row["error"]["code"] == "unanswered"
        assert says in row["error"]["message"] and not row["error"]["message"].endswith("..")


def test_what_is_no_answer_to_a_picture_is_its_row(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter([None, np.nan, None])

    def answers(loaded: OpenVinoClassifier, pixels: np.ndarray) -> np.ndarray:
        logits = np.zeros((1, 1000), np.float32)
        logits[0, 105] = next(calls) or 20
        return logits

    monkeypatch.setattr(OpenVinoClassifier, "__call__", answers)
    result = ninefold("predict", KOALA, MACAW, KOALA, "--json", "--models-dir", str(models_dir))
    assert result.exit_code == 1 and [row["status"] for row in rows(result)] == ["ok", "error", "ok"]
    assert rows(result)[1]["error"]["code"] == "no_answer"


def test_a_picture_that_cannot_be_read_to_its_end_is_its_row(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_bytes

    def reads(path: Path) -> bytes:
        if path == Path(MACAW):
            raise OSError(5, "Input/output error")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", reads)
    result = ninefold("predict", MACAW, KOALA, "--json", "--models-dir", str(models_dir))
    assert result.exit_code == 1 and [row["status"] for row in rows(result)] == ["error", "ok"]
    assert rows(result)[0]["error"] == {"code": "unreadable", "message": "The file cannot be read: Input/output error."}


def test_as_a_process_it_needs_neither_torch_nor_a_terminal(models_dir: Path) -> None:
    code = "import sys; from cli.main import app\ntry: app()\nfinally: print('torch' in sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code, "predict", KOALA, "--json", "--models-dir", str(models_dir)],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert json.loads(done.stdout)["results"][0]["predictions"][0]["label"] == "koala"
    assert done.stderr.splitlines()[-1] == "False"
