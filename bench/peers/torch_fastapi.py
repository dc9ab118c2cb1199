"""FastAPI with torch in eager mode, as everyone writes it.  python bench/peers/torch_fastapi.py FOLDER PORT"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import uvicorn
from everyday import ResNet, tensor
from fastapi import FastAPI, UploadFile

app = FastAPI()
resnet = ResNet(Path(sys.argv[1]))


@app.get("/health")
def health() -> dict[str, str]:
    """It is there."""
    return {"status": "ok"}


@app.post("/predict")
def predict(image: UploadFile) -> dict[str, Any]:
    """The five most probable classes; FastAPI runs this in one of its forty threads."""
    return resnet.answers(tensor(image.file.read()).unsqueeze(0))[0]


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), access_log=False)
