"""A server whose models see pictures differently: Xception at 299 pixels, MobileNetV2 by way of 232."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from contract.transform import to_pixels
from inference.artefacts import ArtefactStore, Variant
from inference.catalogue import BY_NAME
from inference.classifier import top_k
from inference.openvino_classifier import OpenVinoClassifier
from tests import batches, pictures, zips
from tests.localcloud.clouds import Cloud
from tests.servers import Service, serve

LARGE, SMALL = "xception-seeded", "mobilenet_v2-seeded"
PHOTOS = {name: pictures.sample(name) for name in ("koala.jpg", "cat.jpg", "macaw.jpg")}


@pytest.fixture(scope="module")
def s3() -> Iterator[Cloud]:
    with batches.storage() as started:
        yield started


@pytest.fixture(scope="module")
def service(zoo_dir: Path, s3: Cloud) -> Iterator[Service]:
    """Ready, so its golden image came out right at 299 pixels."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        settings = batches.use(monkeypatch, s3)
        with serve(zoo_dir, threads=2, model=LARGE, **settings) as started:
            yield started


@pytest.fixture(scope="module")
def expected(zoo_dir: Path) -> dict[str, list[list[tuple[str, float]]]]:
    """By model, the three best classes of each picture in PHOTOS, by pixels and classifier alone."""
    answers = {}
    for name in (LARGE, SMALL):
        artefact = ArtefactStore(zoo_dir).get(Variant(name, "fp32"))
        assert artefact is not None
        spec, labels = artefact.card.transform, artefact.card.labels
        logits = OpenVinoClassifier(artefact)(np.stack([to_pixels(data, spec) for data in PHOTOS.values()]))
        answers[name] = [[(one.label, one.probability) for one in top_k(row, labels, 3)] for row in logits]
    return answers


def said(row: dict[str, object]) -> list[tuple[str, float]]:
    predictions = row["predictions"]
    assert isinstance(predictions, list)
    return [(one["label"], pytest.approx(one["probability"], abs=1e-4)) for one in predictions[:3]]


def test_pictures_are_answered_as_each_models_own_transform_has_it(
    service: Service, expected: dict[str, list[list[tuple[str, float]]]]
) -> None:
    for name in (LARGE, SMALL, LARGE):
        rows = service.predict(*PHOTOS.items(), model=name, top_k=3)
        assert [said(row) for row in rows] == expected[name]


def test_a_batch_of_299_pixels_is_predicted_and_other_pixels_are_asked_for_first(
    service: Service, s3: Cloud, expected: dict[str, list[list[tuple[str, float]]]]
) -> None:
    batches.drop_in(s3, "large", zips.of(PHOTOS))
    batches.preprocess(s3, "large", BY_NAME[LARGE].transform)
    refused = batches.predict(service, "large", model=SMALL)
    assert refused.status_code == 409 and refused.json()["error"]["code"] == "needs_preprocessing"
    assert batches.predict(service, "large").status_code == 202
    batches.wait_for(service, "large", "done")
    assert [said(row) for row in batches.rows(service, "large")] == expected[LARGE]

    batches.preprocess(s3, "large", BY_NAME[SMALL].transform)  # what the run that was asked for would do
    assert batches.predict(service, "large", model=SMALL).status_code == 202
    batches.within(
        30, lambda: all(found["state"] == "done" for found in batches.state(service, "large")["predictions"])
    )
    answer = service.client.get("/v1/batches/large/results", params={"model": SMALL}).json()
    assert [said(row) for row in answer["results"]] == expected[SMALL]
