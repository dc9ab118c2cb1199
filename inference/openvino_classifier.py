"""The classifier on a CPU: an OpenVINO network, one image an inference, as many at once as there are cores.

The same on whatever other device OpenVINO has, by its name: "GPU", "NPU", "HETERO:GPU,CPU".

One image at a time keeps answers independent of their neighbours, lets urgent images overtake, and is also the
fastest way on two cores (docs/adr/0004-streams-not-batches.md).
"""

from __future__ import annotations

from queue import LifoQueue

import numpy as np
import openvino as ov

from contract.transform import Pixels
from inference.artefacts import Artefact
from inference.card import Card
from inference.choice import ModelMissing
from inference.classifier import Logits, check_pixels
from inference.devices import PROGRAM_NAME, cpu_count
from inference.ir import MODEL_NAME, read_network

_AT_WORK = 50_000_000
_VIRTUAL = ("AUTO", "BATCH", "HETERO", "MULTI")
_NEEDS = {"fp32": "FP32", "pruned": "FP32", "bf16": "BF16"}


class OpenVinoClassifier:
    """An artefact, compiled for a device. Thread-safe: every call takes an inference request of its own."""

    max_batch = 1

    def __init__(self, artefact: Artefact, threads: int | None = None, device: str = "CPU") -> None:
        artefact.verify()
        _require(artefact, device)
        self._side = artefact.card.transform.crop
        self._answer = artefact.card.answer_shape
        self.memory_bytes = memory_of(artefact.card)
        streams = threads or cpu_count()
        core = ov.Core()
        network = read_network(core, artefact.folder)
        network.reshape([1, self._side, self._side, 3])
        self._compiled = core.compile_model(network, device, _options(device, artefact.card.precision, streams))
        self._requests: LifoQueue[ov.InferRequest] = LifoQueue()
        for _ in range(streams):
            self._requests.put(self._compiled.create_infer_request())

    @property
    def computes_in(self) -> str:
        """What its floating-point layers are computed in here: f32, f16 or bf16. Without the hardware it is f32."""
        return str(self._compiled.get_property("INFERENCE_PRECISION_HINT").to_string())

    def __call__(self, pixels: Pixels) -> Logits:
        """uint8[N,H,W,3] → float32[N,C] ([N,Q,6] of a detector). Raises ValueError on another shape or type."""
        check_pixels(pixels, self._side)
        logits = np.empty((len(pixels), *self._answer), dtype=np.float32)
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


def memory_of(card: Card) -> int:
    """About the bytes that a loaded artefact takes: its file, its weights as compiled (those of fp16 are float32
    there), and what is at work. Held to what was measured by tests/inference/test_memory.py."""
    return (3 if card.precision == "fp16" else 2) * card.loaded_bytes + _AT_WORK


def _shareable(image: Pixels) -> Pixels:
    """The same array, unless OpenVINO would not take it: it wants contiguous memory that may be written to."""
    return np.require(image, requirements=("C", "W"))


def _require(artefact: Artefact, device: str) -> None:
    """Raises ModelMissing where the device has not the arithmetic that the precision's name promises."""
    files, precision = artefact.card.files, artefact.card.precision
    if PROGRAM_NAME in files and MODEL_NAME not in files:
        raise ModelMissing(f"{artefact.variant} was made for CUDA, and {device} is none.")
    if device == "CPU" and precision != "bf16":
        return
    for name in behind(device):
        if precision in _NEEDS and _NEEDS[precision] not in capabilities(name):
            what = "a processor that" if name == "CPU" else f"more than {name}: a device that"
            raise ModelMissing(f"{artefact.variant} needs {what} computes {precision} in hardware; this one does not.")


def behind(device: str) -> list[str]:
    """The devices that a name stands for: "HETERO:GPU,CPU" is GPU and CPU. AUTO takes an NPU only where it is named."""
    kind, _, names = device.partition(":")
    if kind not in _VIRTUAL:
        return [device]
    named = [name.strip().partition("(")[0] for name in names.split(",")]
    named = [name for name in named if name and not name.startswith("-")]
    return named or [name for name in ov.Core().available_devices if not name.startswith("NPU")]


def why_no_device(device: str) -> str | None:
    """Why OpenVINO cannot compute on the device, in words; None: it can."""
    kind, _, names = device.partition(":")
    if kind in _VIRTUAL and kind != "AUTO" and not names:
        return f"{kind} stands for other devices, which must be named: {kind}:GPU,CPU for one"
    there = ov.Core().available_devices
    for name in [] if device == "CPU" else behind(device):
        if not any(each == name or each.startswith(f"{name}.") or name == f"{each}.0" for each in there):
            return f"OpenVINO finds no {name} here; it finds {', '.join(there)}"
    return None


def _options(device: str, precision: str, streams: int) -> dict[str, object]:
    # Without the hint a CPU with bf16 in hardware would answer in bf16 under the name of fp32, and a GPU in fp16.
    exact = {"fp32": "f32", "int8": "f32", "pruned": "f32", "bf16": "bf16", "fp16": "f16"}[precision]
    if device == "CPU":
        return {"NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": streams, "INFERENCE_PRECISION_HINT": exact}
    options: dict[str, object] = {"PERFORMANCE_HINT": "THROUGHPUT"}
    hinted = all(
        "INFERENCE_PRECISION_HINT" in ov.Core().get_property(name, "SUPPORTED_PROPERTIES") for name in behind(device)
    )
    # What int8 leaves in floating point, a device may compute as it likes: its gate has room for that.
    return options | ({"INFERENCE_PRECISION_HINT": exact} if hinted and precision != "int8" else {})


def has_bf16() -> bool:
    """Whether this processor computes bfloat16 in hardware (AVX512-BF16, AMX); OpenVINO would quietly use fp32."""
    return "BF16" in capabilities("CPU")


def capabilities(device: str) -> list[str]:
    """The arithmetic that one of OpenVINO's devices has in hardware: FP32, BF16, FP16, INT8 and others."""
    return list(ov.Core().get_property(device, "OPTIMIZATION_CAPABILITIES"))
