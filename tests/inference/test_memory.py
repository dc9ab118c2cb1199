"""What a classifier says it holds, against what loading and using it adds to a process."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import openvino as ov
import pytest

from inference.artefacts import ArtefactStore, Variant, sha256_of
from inference.card import FileEntry
from inference.ir import MODEL_NAME
from inference.openvino_classifier import OpenVinoClassifier
from modelzoo.save import save_ir
from tests.servers import ROOT

# OpenVINO itself and the first network's threads are there before; each of two streams has answered.
ADDED = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np, psutil
from inference.artefacts import ArtefactStore, Variant
from inference.openvino_classifier import OpenVinoClassifier

store = ArtefactStore(Path(sys.argv[1]))
first = OpenVinoClassifier(store.get(Variant("mobilenet_v2-seeded", "fp32")), threads=2)
first(np.zeros((1, 224, 224, 3), np.uint8))
before = psutil.Process().memory_info().rss
classifier = OpenVinoClassifier(store.get(Variant(sys.argv[2], sys.argv[3])), threads=2)
side = store.get(Variant(sys.argv[2], sys.argv[3])).card.transform.crop
with ThreadPoolExecutor(2) as pool:
    list(pool.map(classifier, [np.zeros((3, side, side, 3), np.uint8)] * 4))
print(psutil.Process().memory_info().rss - before)
"""


def _with_fp16(zoo_dir: Path, name: str, folder: Path) -> None:
    """The model in both precisions, and the one that is loaded first."""
    for each in (name, "mobilenet_v2-seeded"):
        shutil.copytree(zoo_dir / each, folder / each)
    fp32 = ArtefactStore(folder).get(Variant(name, "fp32"))
    assert fp32 is not None

    def write(made: Path) -> None:
        save_ir(ov.Core().read_model(fp32.folder / MODEL_NAME), made / MODEL_NAME, fp16=True)
        (made / fp32.card.golden.image).write_bytes(fp32.golden_image)
        files = {path.name: FileEntry(path.stat().st_size, sha256_of(path)) for path in made.iterdir()}
        replace(fp32.card, precision="fp16", files=files).write(made)

    ArtefactStore(folder).publish(Variant(name, "fp16"), write)


@pytest.mark.parametrize(
    ("name", "precision"),
    [("mobilenet_v3_large-seeded", "fp32"), ("xception-seeded", "fp32"), ("xception-seeded", "fp16")],
)
def test_what_a_classifier_says_it_holds_is_about_what_it_takes(
    name: str, precision: str, zoo_dir: Path, tmp_path: Path
) -> None:
    if precision == "fp16":
        _with_fp16(zoo_dir, name, tmp_path)
        zoo_dir = tmp_path
    done = subprocess.run(
        [sys.executable, "-c", ADDED, str(zoo_dir), name, precision],
        cwd=ROOT, check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    artefact = ArtefactStore(zoo_dir).get(Variant(name, precision))
    assert artefact is not None
    # Seen: 73, 255 and, in fp16, 211 MB; for 94, 233 and 188 MB said.
    assert 0.75 < OpenVinoClassifier(artefact, threads=1).memory_bytes / int(done.stdout) < 2.5
