"""ONNX → a TensorRT engine, for the kind of GPU and the version of TensorRT that it is built with.

Written against the bindings of TensorRT 10 and 11, and not seen on hardware: the tests run all of it on a stand-in with
their signatures. Types are those of the ONNX file: version 10 has a flag for that, version 11 knows nothing else.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from contract.transform import Pixels
from inference.card import Card
from inference.classifier import Logits, WrongAnswer, check_pixels
from modelzoo.export import INPUT, OUTPUT, Say, Wanted
from modelzoo.export_files import CannotExport
from modelzoo.export_onnx import Drawn, agreement_of, draw

BATCHES = (1, 9, 64)
"""The smallest batch, the one to be fastest at, the largest."""

LOGITS_FP32 = 1e-2
"""How far fp32 may be from torch's on a CPU: cuDNN adds in another order."""


def write(wanted: Wanted, path: Path, say: Say) -> Card:
    """Writes the engine and holds it to torch. Raises as `export_onnx.draw`, and WrongAnswer, OSError."""
    trt = tensorrt()
    return write_with(trt, "cuda", draw(wanted, path.parent, say), path, say)


def tensorrt() -> Any:
    """The package. Raises CannotExport where it or a GPU is missing."""
    lacking = [] if torch.cuda.is_available() else ["there is no NVIDIA GPU that torch can use"]
    if find_spec("tensorrt") is None:
        lacking.append("the package tensorrt is not installed (pip install tensorrt)")
    if lacking:
        raise CannotExport(
            f"an engine is built by TensorRT on the GPU that will run it; here {' and '.join(lacking)}. "
            "Export to ONNX here, and build the engine there (docs/export.md)"
        )
    return import_module("tensorrt")


def write_with(trt: Any, device: str, drawn: Drawn, path: Path, say: Say) -> Card:
    """The same, with any module that has TensorRT's calls, on any device of torch's."""
    spec, classes = drawn.card.transform, len(drawn.card.labels)
    say("Building the engine (minutes) …")
    plan = engine(trt, drawn.network.SerializeToString(), spec.crop)
    path.write_bytes(plan)
    say("Measuring it against the torch reference …")
    agreement = agreement_of(drawn, EngineClassifier(trt, plan, spec.crop, classes, device), LOGITS_FP32)
    hardware = {"gpu": torch.cuda.get_device_name()} if device == "cuda" else {}
    versions = drawn.card.versions | {"tensorrt": str(trt.__version__)} | hardware
    return replace(drawn.card, agreement=agreement, versions=versions)


def engine(trt: Any, network: bytes, side: int) -> bytes:
    """The serialised engine of an ONNX file, for batches of 1 to 64. Raises CannotExport in TensorRT's words."""
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    definition = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(definition, logger)
    if not parser.parse(network):
        errors = "; ".join(str(parser.get_error(place)) for place in range(parser.num_errors))
        raise CannotExport(f"TensorRT {trt.__version__} cannot read the network: {errors}")
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # it would round what is called fp32
    profile = builder.create_optimization_profile()
    profile.set_shape(INPUT, *((images, side, side, 3) for images in BATCHES))
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(definition, config)
    if plan is None:
        raise CannotExport(f"TensorRT {trt.__version__} built no engine; what it said is above")
    return bytes(plan)


class EngineClassifier:
    """An engine, read back and run on tensors of torch."""

    max_batch = BATCHES[-1]
    memory_bytes = 0

    def __init__(self, trt: Any, plan: bytes, side: int, classes: int, device: str) -> None:
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise WrongAnswer("TensorRT does not read the engine that it has just built")
        self._context = self._engine.create_execution_context()
        self._side, self._classes, self._device = side, classes, device

    def __call__(self, pixels: Pixels) -> Logits:
        """uint8[N,H,W,3] → float32[N,C], N up to 64. Raises ValueError, WrongAnswer."""
        check_pixels(pixels, self._side)
        given = torch.from_numpy(np.ascontiguousarray(pixels)).to(self._device)
        logits = torch.empty((len(pixels), self._classes), dtype=torch.float32, device=self._device)
        on_gpu = self._device == "cuda"
        done = (
            self._context.set_input_shape(INPUT, tuple(given.shape))
            and self._context.set_tensor_address(INPUT, given.data_ptr())
            and self._context.set_tensor_address(OUTPUT, logits.data_ptr())
            and self._context.execute_async_v3(torch.cuda.current_stream().cuda_stream if on_gpu else 0)
        )
        if not done:
            raise WrongAnswer("TensorRT did not run the engine; what it said is above")
        if on_gpu:
            torch.cuda.synchronize()
        return logits.cpu().numpy()
