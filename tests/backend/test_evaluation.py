"""GET /v1/evaluation: what `ninefold evaluate` left beside the models, or in words why there is nothing to be had."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from backend.api.evaluation import MOST_BYTES
from backend.app import create_app
from backend.settings import Settings
from inference.catalogue import PRECISIONS
from inference.openvino_classifier import has_bf16
from tests.servers import Service

SHARE = {"share": 0.742, "low": 0.685, "high": 0.792}
VARIANT = {
    "model": "efficientnet_lite0", "title": "EfficientNet-Lite0", "precision": "fp32",
    "random": False, "images": 256, "errors": 0,
    "top1": SHARE, "top5": SHARE, "agreement": None, "milliseconds": 12.5, "time_ratio": None,
    "images_per_second": 120.0, "size_bytes": 18_000_000, "zipped_bytes": 17_000_000,
}  # fmt: skip
EVALUATION = {
    "format": 1,
    "made_at": "2026-11-20T10:00:00Z",
    "data": {"name": "photos", "layout": "csv", "images": 256},
    "machine": {"device": "CPU", "processor": "A processor", "cores": 2, "openvino": "2026.4.1"},
    "variants": [VARIANT, VARIANT | {"precision": "int8", "agreement": SHARE, "time_ratio": 0.4}],
    "missing": [{"model": "resnet18", "title": "ResNet-18", "reason": "It has not been built."}],
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    """A server that has not started: no model is needed to tell what was evaluated."""
    app = create_app(Settings(models_dir=tmp_path_factory.mktemp("models")))
    return TestClient(app, "http://localhost", raise_server_exceptions=False)


@pytest.fixture
def folder(client: TestClient) -> Iterator[Path]:
    """Its folder of models, empty before and after."""
    found: Path = client.app.state.settings.models_dir  # type: ignore[attr-defined]  # it is a FastAPI
    yield found
    left = found / "evaluation.json"
    left.rmdir() if left.is_dir() else left.unlink(missing_ok=True)


def leave(folder: Path, what: object) -> None:
    (folder / "evaluation.json").write_text(what if isinstance(what, str) else json.dumps(what), encoding="utf-8")


def refused(client: TestClient, status: int, code: str) -> str:
    answer = client.get("/v1/evaluation")
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    message: str = answer.json()["error"]["message"]
    assert "ninefold evaluate --data DIR --models all" in message
    return message


def test_it_is_answered_as_it_was_written_and_a_new_one_at_once(client: TestClient, folder: Path) -> None:
    refused(client, 404, "no_evaluation")
    leave(folder, EVALUATION | {"more": "than this server knows"})
    assert client.get("/v1/evaluation").json() == EVALUATION
    leave(folder, EVALUATION | {"variants": []})
    assert client.get("/v1/evaluation").json()["variants"] == []
    (folder / "evaluation.json").unlink()
    refused(client, 404, "no_evaluation")


def test_it_is_read_from_where_the_setting_says(tmp_path: Path) -> None:
    """The folder of models is part of an image, and cannot be written to there."""
    (tmp_path / "elsewhere.json").write_text(json.dumps(EVALUATION))
    app = create_app(Settings(models_dir=tmp_path / "models", evaluation=tmp_path / "elsewhere.json"))
    assert TestClient(app, "http://localhost").get("/v1/evaluation").json() == EVALUATION


def test_one_of_an_earlier_version_is_read(client: TestClient, folder: Path) -> None:
    machine = {name: value for name, value in EVALUATION["machine"].items() if name != "device"}  # type: ignore[attr-defined]
    leave(folder, EVALUATION | {"machine": machine})
    assert client.get("/v1/evaluation").json() == EVALUATION


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in EVALUATION.items() if name != key}


@pytest.mark.parametrize(
    ("left", "where"),
    [
        ("", "EOF"),
        ("{", "EOF"),
        ("[" * 100_000, "recursion"),
        ("[]", "should be an object"),
        (json.dumps(EVALUATION)[:-30], "EOF"),
        (without("format"), "format: Field required"),
        (without("machine"), "machine: Field required"),
        (EVALUATION | {"variants": [VARIANT | {"top1": None}]}, "variants.0.top1"),
        (EVALUATION | {"variants": [VARIANT | {"top1": SHARE | {"share": 1.2}}]}, "variants.0.top1.share"),
        (EVALUATION | {"variants": [VARIANT | {"milliseconds": float("nan")}]}, "variants.0.milliseconds"),
        (EVALUATION | {"variants": [VARIANT | {"milliseconds": float("inf")}]}, "variants.0.milliseconds"),
        (EVALUATION | {"variants": [VARIANT | {"milliseconds": 0}]}, "variants.0.milliseconds"),
        (EVALUATION | {"made_at": "yesterday"}, "made_at"),
    ],
)
def test_a_damaged_one_is_told_by_the_place_of_the_damage(
    client: TestClient, folder: Path, left: object, where: str
) -> None:
    leave(folder, left)
    assert where in refused(client, 503, "evaluation_damaged")


def test_one_of_a_newer_format_is_told_so_whatever_else_is_in_it(client: TestClient, folder: Path) -> None:
    leave(folder, {"format": 2, "variants": "elsewhere"})
    assert "Update the server" in refused(client, 503, "evaluation_newer")


def test_a_huge_one_is_not_read_as_a_whole(client: TestClient, folder: Path) -> None:
    leave(folder, json.dumps(EVALUATION).ljust(MOST_BYTES))
    assert client.get("/v1/evaluation").status_code == 200
    leave(folder, json.dumps(EVALUATION).ljust(MOST_BYTES + 1))
    assert "1,000,000 bytes" in refused(client, 503, "evaluation_damaged")


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_holds_nobody(client: TestClient, folder: Path, make: Any) -> None:
    make(folder / "evaluation.json")
    assert "no file" in refused(client, 503, "evaluation_damaged")


def test_it_is_in_the_documentation(client: TestClient) -> None:
    described = client.get("/openapi.json").json()["paths"]["/v1/evaluation"]["get"]
    assert {"200", "404", "503"} <= set(described["responses"])


def test_models_tell_their_transform_and_what_could_be_added(server: Service) -> None:
    models = {model["name"]: model for model in server.client.get("/v1/models").json()["models"]}
    lite, resnet, seeded = (models[name] for name in ("efficientnet_lite0", "resnet18", "resnet18-seeded"))
    assert (lite["transform"]["resize"], lite["transform"]["crop"]) == (256, 224)
    assert len(lite["transform"]["mean"]) == len(lite["transform"]["std"]) == 3
    assert [absent["precision"] for absent in lite["absent"]] == [
        name for name in PRECISIONS if name != "fp32" and (name != "bf16" or has_bf16())
    ]
    assert {"precision": "int8", "command": "ninefold models quantize efficientnet_lite0"} in lite["absent"]
    assert resnet["absent"] == [{"precision": "fp32", "command": "ninefold models build resnet18"}]
    assert seeded["absent"] == []
