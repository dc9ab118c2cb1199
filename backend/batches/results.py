"""The rows of a finished prediction, part by part, in three formats; and what the network saw of one entry."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from backend.batches.errors import BatchProblem, wrong_state
from backend.batches.storage import Missing, Storage
from backend.batches.view import BatchView, Prediction
from contract.batches import ResultKeys
from contract.result_rows import cells, header
from contract.shards import ShardRows

__all__ = ["FORMATS", "Results", "finished"]

FORMATS = {"json": "application/json", "jsonl": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}


def finished(view: BatchView, model: str | None, precision: str | None) -> Prediction:
    """The finished prediction that is meant; without a name the first. Raises BatchProblem where there is none."""
    done = [found for found in view.predictions if found.state == "done"]
    meant = [found for found in done if model in (None, found.model) and precision in (None, found.precision)]
    if meant:
        return meant[0]
    if done:
        known = ", ".join(f"{found.model} {found.precision}" for found in done)
        raise wrong_state(f"It has not been predicted by that model; there are results of {known}.")
    if any(found.parts_missing for found in view.predictions):
        raise wrong_state("Parts of the results have expired or were deleted. Predict the batch again.")
    if any(found.state == "predicting" for found in view.predictions):
        raise wrong_state("The prediction is still going on.")
    raise wrong_state("There are no results: the batch has not been predicted.")


class Results:
    """Reads results and pixels. Blocking: to be called in threads."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._rows = lru_cache(maxsize=8)(self._read_rows)

    def stream(self, view: BatchView, prediction: Prediction, format: str) -> Iterator[bytes]:
        """The file in `format`, in pieces of a shard each; never whole in memory."""
        parts = self._parts(view, prediction)
        if format == "jsonl":
            return (part if part.endswith(b"\n") else part + b"\n" for part in parts)
        return _as_csv(parts) if format == "csv" else _as_json(parts, view, prediction)

    def _parts(self, view: BatchView, prediction: Prediction) -> Iterator[bytes]:
        assert view.source is not None  # noqa: S101  # what has predictions has a source
        keys = ResultKeys(f"{view.source.prefix}{prediction.folder}/")
        for number in sorted(prediction.parts):
            yield self._storage.get(keys.part(number)).data

    def picture(self, view: BatchView, entry: int) -> bytes:
        """What the network saw of an entry, as a JPEG. Raises BatchProblem no_pixels."""
        tensors = next((found for found in view.tensors if found.manifest.dtype == "uint8"), None)
        plans = [plan for plan, _ in tensors.manifest.shards if plan.first <= entry < plan.last] if tensors else []
        if tensors is None or view.source is None or not plans:
            raise _no_pixels()
        keys = view.source.tensors(tensors.folder)
        try:
            place = self._rows(keys.rows(plans[0].number)).image_range(entry)
            if place is None:
                raise _no_pixels()
            pixels = self._storage.get_range(keys.pixels(plans[0].number), *place)
        except Missing as error:
            raise _no_pixels() from error
        side = tensors.manifest.transform.crop
        file = io.BytesIO()
        Image.fromarray(np.frombuffer(pixels, np.uint8).reshape(side, side, 3)).save(file, "JPEG", quality=85)
        return file.getvalue()

    def _read_rows(self, key: str) -> ShardRows:
        return ShardRows.decode(self._storage.get(key).data)


def _no_pixels() -> BatchProblem:
    return BatchProblem(
        404, "no_pixels", "There is no picture: the entry has none, or it has expired (pictures are kept for 7 days)."
    )


def _as_json(parts: Iterator[bytes], view: BatchView, prediction: Prediction) -> Iterator[bytes]:
    counts = prediction.counts
    head = {
        "id": view.id,
        "filename": view.file_name,
        "model": prediction.model,
        "precision": prediction.precision,
        "counts": {
            "entries": counts.entries if counts else 0,
            "predictions": counts.images if counts else 0,
            "errors": counts.errors if counts else 0,
            "skipped": counts.skipped if counts else 0,
        },
    }
    yield json.dumps(head, ensure_ascii=False).encode()[:-1] + b', "results": ['
    comma = b"\n"
    for part in parts:
        rows = part.rstrip(b"\n")
        if rows:
            yield comma + rows.replace(b"\n", b",\n")
            comma = b",\n"
    yield b"\n]}\n"


def _as_csv(parts: Iterator[bytes]) -> Iterator[bytes]:
    yield _line(header())
    for part in parts:
        yield b"".join(_line(cells(json.loads(line))) for line in part.splitlines() if line)


def _line(values: list[Any]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow(values)
    return out.getvalue().encode()
