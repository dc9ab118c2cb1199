"""A stand-in for the package tensorrt, which needs a GPU: its calls as its bindings have them, on OpenVINO and the CPU.

Written by hand after the bindings' source (pyCore.cpp and pyOnnx.cpp below python/src/ of NVIDIA/TensorRT): the
names and parameters are theirs, and what a call returns when it fails. It says nothing about whether TensorRT reads
the network, or how it rounds.
"""

from __future__ import annotations

import ctypes
from enum import IntEnum

import numpy as np
import openvino as ov

__version__ = "11.4.0 (stand-in)"

Shape = tuple[int, ...]

_MAGIC = b"plan of the stand-in: "


class NetworkDefinitionCreationFlag(IntEnum):
    STRONGLY_TYPED = 1


class BuilderFlag(IntEnum):
    TF32 = 6


class Logger:
    WARNING = 2

    def __init__(self, min_severity: int = WARNING) -> None:
        self.min_severity = min_severity


class Network:
    """INetworkDefinition."""

    def __init__(self, flags: int) -> None:
        self.flags = flags
        self.onnx = b""


class ParserError:
    def __init__(self, words: str) -> None:
        self._words = words

    def __str__(self) -> str:
        return f"In node 0 (parse): INVALID_NODE: {self._words}"


class OnnxParser:
    def __init__(self, network: Network, logger: Logger) -> None:
        self._network = network
        self._errors: list[ParserError] = []

    def parse(self, model: bytes, path: str | None = None) -> bool:
        try:
            ov.Core().read_model(model)
        except RuntimeError as error:
            self._errors.append(ParserError(str(error).splitlines()[-1]))
            return False
        self._network.onnx = bytes(model)
        return True

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]


class OptimizationProfile:
    """IOptimizationProfile."""

    def __init__(self) -> None:
        self.shapes: dict[str, tuple[Shape, ...]] = {}

    def set_shape(self, input: str, min: Shape, opt: Shape, max: Shape) -> None:  # noqa: A002  # the bindings' names
        self.shapes[input] = (min, opt, max)


class BuilderConfig:
    """IBuilderConfig; TF32 is on in a new one."""

    def __init__(self) -> None:
        self.flags = {BuilderFlag.TF32}
        self.profiles: list[OptimizationProfile] = []

    def clear_flag(self, flag: BuilderFlag) -> None:
        self.flags.discard(flag)

    def add_optimization_profile(self, profile: OptimizationProfile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1


class Builder:
    """What was built last is kept for the tests to look at."""

    last: tuple[Network, BuilderConfig] | None = None

    def __init__(self, logger: Logger) -> None:
        self.logger = logger

    def create_network(self, flags: int = 0) -> Network:
        return Network(flags)

    def create_builder_config(self) -> BuilderConfig:
        return BuilderConfig()

    def create_optimization_profile(self) -> OptimizationProfile:
        return OptimizationProfile()

    def build_serialized_network(self, network: Network, config: BuilderConfig) -> memoryview | None:
        """IHostMemory, which has the buffer protocol; None without a profile for a dynamic input."""
        Builder.last = (network, config)
        return memoryview(_MAGIC + network.onnx) if config.profiles else None


class ExecutionContext:
    """IExecutionContext, on memory of the CPU."""

    def __init__(self, onnx: bytes) -> None:
        core = ov.Core()
        self._network = core.compile_model(core.read_model(onnx), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        self._shape: tuple[int, ...] = ()
        self._addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shape = shape
        return name == self._network.input(0).get_any_name() and shape[0] <= 64

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return name in ("pixels", "logits")

    def execute_async_v3(self, stream_handle: int) -> bool:
        size = int(np.prod(self._shape))
        given = np.frombuffer((ctypes.c_uint8 * size).from_address(self._addresses["pixels"]), dtype=np.uint8)
        logits = np.ascontiguousarray(self._network([given.reshape(self._shape)])[0], dtype=np.float32)
        ctypes.memmove(self._addresses["logits"], logits.ctypes.data, logits.nbytes)
        return True


class Engine:
    """ICudaEngine."""

    def __init__(self, onnx: bytes) -> None:
        self._onnx = onnx

    def create_execution_context(self) -> ExecutionContext:
        return ExecutionContext(self._onnx)


class Runtime:
    def __init__(self, logger: Logger) -> None:
        self.logger = logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> Engine | None:
        if not serialized_engine.startswith(_MAGIC):
            return None
        return Engine(serialized_engine.removeprefix(_MAGIC))
