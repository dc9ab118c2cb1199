"""Detectors small enough to be built in a test: of random weights, and a fake that sees the same on every frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from contract.transform import TransformSpec
from inference.artefacts import Artefact, ArtefactStore, Variant, sha256_of
from inference.boxes import Detection
from inference.card import Agreement, Card, Expected, FileEntry, Golden, Origin
from inference.detectors import Detector, HubSource
from tests import pictures

SEEDED = HubSource("seeded", "seed 9", "", licence="none")
SIDE = 96
FAKE_DETECTOR = "fake-detector"
"""The name that the fake goes by, on the page too. It is used only where it is asked for, by NINEFOLD_DETECTOR or
--detector."""

TINY_RTDETR = Detector(
    name="tiny-rtdetr-seeded",
    title="RT-DETR, tiny, random weights",
    architecture="rt_detr",
    source=SEEDED,
    transform=TransformSpec(SIDE, SIDE, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), whole=True),
    settings={
        "num_labels": 7,
        "backbone_config": {
            "model_type": "rt_detr_resnet",
            "embedding_size": 8,
            "hidden_sizes": [8, 16, 16, 16],
            "depths": [1, 1, 1, 1],
            "layer_type": "basic",
            "out_indices": [2, 3, 4],
        },
        "encoder_in_channels": [16, 16, 16],
        "encoder_hidden_dim": 16,
        "encoder_ffn_dim": 32,
        "encoder_attention_heads": 2,
        "decoder_in_channels": [16, 16, 16],
        "d_model": 16,
        "decoder_ffn_dim": 32,
        "decoder_attention_heads": 2,
        "decoder_layers": 2,
        "num_queries": 20,
        "num_denoising": 0,
    },
)
TINY_DETR = Detector(
    name="tiny-detr-seeded",
    title="DETR, tiny, random weights",
    architecture="detr",
    source=SEEDED,
    transform=TransformSpec(SIDE, SIDE, whole=True),
    settings={
        "num_labels": 7,
        "backbone_config": {
            "model_type": "resnet",
            "embedding_size": 8,
            "hidden_sizes": [8, 8, 16, 16],
            "depths": [1, 1, 1, 1],
            "layer_type": "basic",
            "out_features": ["stage4"],
        },
        "d_model": 16,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "num_queries": 10,
    },
)


def fake_detector(store: ArtefactStore, found: Sequence[Detection], labels: Sequence[str], rows: int = 20) -> Artefact:
    """An artefact like any other, save that its graph is a constant: it sees `found` (surest first) on every frame."""
    answer = np.zeros((1, rows, 6), dtype=np.float32)
    for row, one in zip(answer[0], found, strict=False):
        row[:] = (*one.box, one.index, one.score)
    first = found[0]

    def write(folder) -> None:  # type: ignore[no-untyped-def]
        ov.save_model(_constant(answer), folder / "model.xml", compress_to_fp16=False)
        (folder / "golden.jpg").write_bytes(pictures.jpeg())
        Card(
            model=FAKE_DETECTOR,
            title="Fake detector of the tests: the same boxes on every frame",
            precision="fp32",
            origin=Origin("fake", "made by a test", "", "none"),
            transform=TransformSpec(SIDE, SIDE, whole=True),
            labels=tuple(labels),
            files={path.name: FileEntry(path.stat().st_size, sha256_of(path)) for path in sorted(folder.iterdir())},
            agreement=Agreement("none: it is a fake", 0, 0.0, 0.0, 0.0),
            golden=Golden("golden.jpg", (Expected(first.label, first.index, first.score, first.box),), 1e-3),
            versions={},
            built_at="",
            boxes=rows,
        ).write(folder)

    return store.publish(Variant(FAKE_DETECTOR, "fp32"), write)


def _constant(answer: np.ndarray) -> ov.Model:
    """uint8[N,H,W,3] → `answer` N times. The pixels are read, and then multiplied by 0."""
    pixels = ops.parameter([-1, SIDE, SIDE, 3], np.uint8, name="pixels")
    mean = ops.reduce_mean(ops.convert(pixels, "f32"), np.array([1, 2, 3]), keep_dims=True)
    nothing = ops.multiply(ops.squeeze(mean, np.array([3])), np.float32(0))
    return ov.Model([ops.add(nothing, ops.constant(answer))], [pixels], "fake")
