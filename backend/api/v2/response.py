"""The answer of an inference: JSON, and the tensors in binary behind it where they were asked for so."""

from __future__ import annotations

from typing import Any

import numpy as np
from fastapi import Response
from pydantic_core import to_json

from backend.api.v2.request import LOGITS, Asked, Wanted
from inference.artefacts import Artefact
from inference.classifier import Logits, top_k

_LENGTH = "Inference-Header-Content-Length"


def answer(asked: Asked, artefact: Artefact, logits: Logits) -> Response:
    """The response for float32[N,C]. Blocks for large ones; every number must be finite."""
    described, raw = _tensor(asked.wanted, logits, artefact.card.labels)
    head: dict[str, Any] = {"model_name": artefact.card.model, "model_version": artefact.card.precision}
    if asked.id is not None:
        head["id"] = asked.id
    text = to_json(head | {"outputs": [described]})
    if raw is None:
        return Response(text, media_type="application/json")
    return Response(text + raw, media_type="application/octet-stream", headers={_LENGTH: str(len(text))})


def _tensor(wanted: Wanted, logits: Logits, labels: tuple[str, ...]) -> tuple[dict[str, Any], bytes | None]:
    """How it is described, with its data or without, and its bytes."""
    if wanted.classes is None:
        described = {"name": LOGITS, "datatype": "FP32", "shape": list(logits.shape)}
        data: Any = None if wanted.binary else logits.ravel().tolist()
        raw = logits.astype(np.dtype("<f4"), copy=False).tobytes() if wanted.binary else b""
    else:
        best = [top_k(row, labels, wanted.classes) for row in logits]
        data = [f"{p.probability:f}:{p.index}:{p.label}" for row in best for p in row]
        described = {"name": LOGITS, "datatype": "BYTES", "shape": [len(best), len(best[0])]}
        raw = b"".join(_element(text.encode()) for text in data) if wanted.binary else b""
    if wanted.binary:
        return described | {"parameters": {"binary_data_size": len(raw)}}, raw
    return described | {"data": data}, None


def _element(value: bytes) -> bytes:
    return len(value).to_bytes(4, "little") + value
