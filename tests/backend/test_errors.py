"""The errors that a server gives are those that are written down; and what a server says whose worker has died."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.exceptions import HTTPException

from backend.api import errors
from backend.batches import errors as of_batches
from backend.batches.errors import BatchProblem
from inference.lanes import Lanes
from tests import pictures
from tests.servers import ROOT, serve

Error = tuple[int, str]


def written(docstring: str | None) -> set[Error]:
    """Of lines as `├── 404  unknown_model · not_found (a remark)`."""
    assert docstring
    whole = re.sub(r"\([^)]*\)", "", re.sub(r"\n│ +", " ", docstring.replace("\n    ", "\n")))
    lines = re.findall(r"^[├└]── (\d{3})  (.+)$", whole, flags=re.MULTILINE)
    return {(int(status), code.strip()) for status, codes in lines for code in codes.split("·")}


def raised(kind: str) -> Iterator[Error]:
    """What the server's code makes of `kind`, wherever status and code stand there; its subclasses' too."""
    for path in sorted((ROOT / "backend").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and (_name(node.func) == kind or _is_of_subclass(node, kind, path)):
                status, code = node.args[:2]
                if isinstance(status, ast.Constant) and isinstance(code, ast.Constant):
                    yield int(str(status.value)), str(code.value)


def _name(called: ast.expr) -> str:
    return called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""


def _is_of_subclass(node: ast.Call, kind: str, path: Path) -> bool:
    return kind == BatchProblem.__name__ and path.match("batches/errors.py") and len(node.args) == 3


def test_every_error_is_written_down_and_no_other() -> None:
    of_the_framework = errors.translate(HTTPException(405))
    found = {*raised("ApiError"), (of_the_framework.status, of_the_framework.code)}
    assert len(found) > 30 and written(errors.__doc__) == found


def test_every_error_of_a_batch_is_written_down_and_no_other() -> None:
    found = set(raised("BatchProblem"))
    assert len(found) > 10 and written(of_batches.__doc__) == found


def test_a_server_whose_worker_has_died_says_so_in_both_protocols(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not that it is shutting down, which would pass."""
    picture = pictures.jpeg()
    with serve(models_dir, threads=1, model="resnet18-seeded") as server:
        model = "/v2/models/resnet18-seeded"
        asked = {"inputs": [{"name": "images", "datatype": "BYTES", "shape": [1], "data": [""]}]}
        assert server.client.get(f"{model}/ready").status_code == 200
        monkeypatch.setattr(Lanes, "alive", False)
        answers = [
            server.post(("a.jpg", picture)),
            server.client.get("/v1/live"),
            server.client.get("/v1/live/modes"),
            server.client.get("/readyz"),
            server.client.get("/v2/health/ready"),
            server.client.get(f"{model}/ready"),
            server.client.post(f"{model}/infer", json=asked),
        ]
        for answer in answers:
            words = answer.json()["error"]
            assert answer.status_code == 503 and answer.headers["retry-after"], answer.url
            if not answer.url.path.startswith("/v2"):
                assert words["code"] == "not_ready"
                words = words["message"]
            assert "has died" in words and "must be restarted" in words and "shutting down" not in words, answer.url
        assert server.client.get("/healthz").json()["error"]["code"] == "broken"
        monkeypatch.undo()
