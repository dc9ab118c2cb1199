"""The model on an executor: fetched from S3 once for all of its Python workers, loaded once by each, and held to its
golden image before it answers anything.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from contract.result_rows import TOP_K
from contract.transform import Pixels, TransformSpec
from glue_jobs.s3 import whole_body, worker_client
from inference.artefacts import Artefact, DamagedArtefact
from inference.card import CARD_NAME, BadCard, Card, read_card
from inference.choice import ModelMissing
from inference.classifier import Classifier, Prediction, WrongAnswer, check_golden, golden_pixels, top_k
from inference.openvino_classifier import OpenVinoClassifier

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_DAMAGE = (BadCard, DamagedArtefact, ModelMissing, WrongAnswer)


class Unfit(Exception):
    """A model that must not answer: missing, damaged, replaced, or with another answer to its golden image."""


@dataclass(frozen=True)
class ModelPlace:
    """An artefact in S3: its files lie under `prefix`; `card_sha256` holds every executor to the driver's card."""

    bucket: str
    prefix: str
    card_sha256: str


class Model:
    """A loaded artefact whose golden image got its answer."""

    def __init__(self, artefact: Artefact) -> None:
        # A Spark task has one core, and so has its classifier.
        self._classifier: Classifier = OpenVinoClassifier(artefact, threads=1)
        self._labels = artefact.card.labels
        self.spec: TransformSpec = artefact.card.transform
        check_golden(artefact, self._classifier(golden_pixels(artefact)))

    def __call__(self, pixels: Pixels) -> list[Prediction]:
        """uint8[H,W,3] → the most probable classes, as the server would have them."""
        return top_k(self._classifier(pixels[None])[0], self._labels, TOP_K)


def find_model(s3: S3Client, bucket: str, prefix: str, folder: Path) -> tuple[ModelPlace, Card]:
    """Where the artefact is, and its card, by way of an empty folder. Raises Unfit."""
    data = _get(s3, bucket, f"{prefix}{CARD_NAME}")
    (folder / CARD_NAME).write_bytes(data)
    try:
        return ModelPlace(bucket, prefix, hashlib.sha256(data).hexdigest()), read_card(folder)
    except BadCard as error:
        raise Unfit(str(error)) from error


@cache
def worker_model(place: ModelPlace) -> Model:
    """This Python worker's own. Raises Unfit, and what S3 answers otherwise."""
    folder = _fetched_once(place, lambda target: _fetch(worker_client(), place, target))
    try:
        return Model(Artefact(folder, read_card(folder)))
    except _DAMAGE as error:
        raise Unfit(f"The model under {place.prefix} is not fit to answer. {error}") from error


def _fetched_once(place: ModelPlace, fetch: Callable[[Path], None]) -> Path:
    """The folder, made by whichever of the executor's workers comes first; the others wait for it.

    It lies where Spark keeps the executor's own files, and goes with them.
    """
    home = Path(os.environ["SPARK_LOCAL_DIRS"].split(",")[0])
    folder = home / f"ninefold-{place.card_sha256[:16]}"
    with (home / "ninefold.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            staging = Path(mkdtemp(dir=home))
            try:
                fetch(staging)
                staging.rename(folder)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
    return folder


def _fetch(s3: S3Client, place: ModelPlace, folder: Path) -> None:
    data = _get(s3, place.bucket, f"{place.prefix}{CARD_NAME}")
    if hashlib.sha256(data).hexdigest() != place.card_sha256:
        raise Unfit(f"The model under {place.prefix} was replaced during the run. Run again, with another --output.")
    (folder / CARD_NAME).write_bytes(data)
    try:
        artefact = Artefact(folder, read_card(folder))
        for name in artefact.card.files:
            (folder / Path(name).name).write_bytes(_get(s3, place.bucket, f"{place.prefix}{name}"))
        artefact.verify()
    except _DAMAGE as error:
        raise Unfit(f"The model under {place.prefix} is damaged. {error}") from error


def _get(s3: S3Client, bucket: str, key: str) -> bytes:
    try:
        return whole_body(lambda: s3.get_object(Bucket=bucket, Key=key))
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            raise Unfit(f"There is no {key} in the bucket {bucket}: --model-dir must name an artefact.") from error
        raise
