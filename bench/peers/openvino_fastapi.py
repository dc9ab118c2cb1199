"""The honest peer: a plain FastAPI over the very network that ours serves.  python …/openvino_fastapi.py FOLDER PORT

What somebody gets in forty lines who knows OpenVINO: its hint for throughput, FastAPI's own threads, one request an
inference, Pillow with a reduced decode where that costs nothing visible.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from queue import LifoQueue
from typing import Any

import numpy as np
import openvino as ov
import uvicorn
from fastapi import FastAPI, UploadFile
from PIL import Image

folder = Path(sys.argv[1])
labels = (folder / "labels.txt").read_text(encoding="utf-8").splitlines()
network = ov.Core().read_model(folder / "model.xml")
network.reshape([1, 224, 224, 3])
compiled = ov.Core().compile_model(network, "CPU", {"PERFORMANCE_HINT": "THROUGHPUT"})
free: LifoQueue[ov.InferRequest] = LifoQueue()
for _ in range(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")):
    free.put(compiled.create_infer_request())
app = FastAPI()


@app.get("/health")
def health() -> dict[str, str]:
    """It is there."""
    return {"status": "ok"}


@app.post("/predict")
def predict(image: UploadFile) -> dict[str, Any]:
    """The five most probable classes."""
    picture = Image.open(io.BytesIO(image.file.read()))
    picture.draft("RGB", (512, 512))
    picture = picture.convert("RGB")
    scale = 256 / min(picture.size)
    picture = picture.resize((int(picture.width * scale), int(picture.height * scale)), Image.Resampling.BILINEAR)
    left, top = round((picture.width - 224) / 2), round((picture.height - 224) / 2)
    pixels = np.asarray(picture.crop((left, top, left + 224, top + 224)))[None]
    request = free.get()
    try:
        logits = request.infer({0: pixels})[0][0]
    finally:
        free.put(request)
    exponentials = np.exp(logits - logits.max())
    best = np.argsort(-logits)[:5]
    share = exponentials / exponentials.sum()
    return {"predictions": [{"label": labels[i], "index": int(i), "probability": float(share[i])} for i in best]}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), access_log=False)
