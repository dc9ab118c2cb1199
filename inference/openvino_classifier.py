"""The classifier on a CPU: an OpenVINO network, one image an inference, as many at once as there are cores.

One image at a time keeps answers independent of their neighbours, lets urgent images overtake, and is also the
fastest way on two cores (docs/adr/0004-streams-not-batches.md).
"""

from __future__ import annotations

import os
from queue import LifoQueue

import numpy as np
import openvino as ov

from contract.transform import Pixels
from inference.artefacts import Artefact
from inference.choice import ModelMissing
from inference.classifier import Logits, check_pixels
from inference.ir import MODEL_NAME, read_network

__all__ = ["MODEL_NAME", "OpenVinoClassifier", "cpu_count", "has_bf16"]


class OpenVinoClassifier:
    """An artefact, compiled for the CPU. Thread-safe: every call takes an inference request of its own."""

    max_batch = 1

    def __init__(self, artefact: Artefact, threads: int | None = None, device: str = "CPU") -> None:
        artefact.verify()
        if artefact.card.precision == "bf16" and device == "CPU" and not has_bf16():
            raise ModelMissing(
                f"{artefact.variant} needs a processor that computes bf16 in hardware; this one does not."
            )
        self._side = artefact.card.transform.crop
        self._classes = len(artefact.card.labels)
        self.memory_bytes = 2 * artefact.card.loaded_bytes
        streams = threads or cpu_count()
        core = ov.Core()
        network = read_network(core, artefact.folder)
        network.reshape([1, self._side, self._side, 3])
        compiled = core.compile_model(network, device, _options(device, artefact.card.precision, streams))
        self._requests: LifoQueue[ov.InferRequest] = LifoQueue()
        for _ in range(streams):
            self._requests.put(compiled.create_infer_request())

    def __call__(self, pixels: Pixels) -> Logits:
        """uint8[N,H,W,3] → float32[N,C]. Raises ValueError on another shape or type."""
        check_pixels(pixels, self._side)
        logits = np.empty((len(pixels), self._classes), dtype=np.float32)
        request = self._requests.get()
        try:
            for image, row in zip(pixels, logits, strict=True):
                # The network reads the pixels where they lie. The tensor does not keep them alive; `shared` does.
                shared = _shareable(image[None])
                request.set_input_tensor(ov.Tensor(shared, shared_memory=True))
                request.start_async()
                request.wait()
                row[:] = request.get_output_tensor(0).data[0]
        finally:
            self._requests.put(request)
        return logits


def _shareable(image: Pixels) -> Pixels:
    """The same array, unless OpenVINO would not take it: it wants contiguous memory that may be written to."""
    return np.require(image, requirements=("C", "W"))


def _options(device: str, precision: str, streams: int) -> dict[str, object]:
    if device != "CPU":
        return {"PERFORMANCE_HINT": "THROUGHPUT"}
    # Without the hint a CPU with bf16 in hardware would answer in bf16 under the name of fp32.
    exact = {"fp32": "f32", "int8": "f32", "pruned": "f32", "bf16": "bf16", "fp16": "f16"}[precision]
    return {"NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": streams, "INFERENCE_PRECISION_HINT": exact}


def has_bf16() -> bool:
    """Whether this processor computes bfloat16 in hardware (AVX512-BF16, AMX); OpenVINO would quietly use fp32."""
    return "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def cpu_count() -> int:
    """The processors this process may run on. A container's CPU quota is not seen here: set NINEFOLD_THREADS there."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
