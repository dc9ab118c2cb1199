"""Weights → ONNX by torch's exporter: uint8[N,H,W,3] in, float32[N,C] logits out, normalisation inside.

fp16: from the first convolution to the last layer everything is float16, weights and arithmetic; in between nothing
says otherwise, so what runs the file computes in fp16 where it can.
"""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import torch

from contract.transform import Pixels
from inference.card import Agreement, Card
from inference.classifier import Classifier
from inference.torch_classifier import Normalised, TorchClassifier
from modelzoo.build import agreement_with, card_of, probes_of
from modelzoo.convert import exported
from modelzoo.export import INPUT, OUTPUT, Say, Wanted, judge, metadata
from modelzoo.export_files import CannotExport
from modelzoo.export_openvino import FileClassifier
from modelzoo.networks import build_network
from modelzoo.weights import Weights, WeightsMissing, WrongWeights, obtain

OPSET = 20
LOGITS_FP32, PROBABILITY_FP16 = 1e-3, 0.05
"""How far the file may be from torch, in logits and in probabilities."""

LARGEST_HALF = 65504.0
LOOKED_AT = 8
"""The probes on which numbers inside the network are looked at."""


class Typed(torch.nn.Module):
    """The network as others read it, its normalisation in float32 and the rest in `dtype`.

    The pixels are cast before anything else, for TensorRT allows nothing else to be done with uint8; and laid out
    anew after they were turned, for torch would export its pooling of channels-last tensors as a Gather.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: Normalised, dtype: torch.dtype) -> None:
        super().__init__()
        self.network = copy.deepcopy(network.network).to(dtype)
        self.register_buffer("mean", network.mean)
        self.register_buffer("std", network.std)
        self._dtype = dtype

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels to logits: uint8[N,H,W,3] → float32[N,C]."""
        scaled = pixels.float().permute(0, 3, 1, 2).contiguous() / 255
        logits: torch.Tensor = self.network(((scaled - self.mean) / self.std).to(self._dtype))
        return logits.float()


@dataclass(frozen=True)
class Drawn:
    """A network as ONNX, the torch reference that any file made of it is held to, and its card without files."""

    network: onnx.ModelProto
    reference: Classifier
    card: Card


def write(wanted: Wanted, path: Path, say: Say) -> Card:
    """Writes the ONNX file and holds it to torch. Raises as `draw`, and WrongAnswer, OSError."""
    drawn = draw(wanted, path.parent, say)
    path.write_bytes(drawn.network.SerializeToString())
    say("Measuring it against the torch reference …")
    return replace(drawn.card, agreement=agreement_of(drawn, FileClassifier(path)))


def agreement_of(drawn: Drawn, candidate: Classifier, logits: float = LOGITS_FP32) -> Agreement:
    """How close `candidate` is to torch on the probes. Raises WrongAnswer where it is too far off."""
    agreement = agreement_with(drawn.reference, candidate, drawn.card.transform)
    judge(agreement, logits=logits if drawn.card.precision == "fp32" else float("inf"), probability=PROBABILITY_FP16)
    return agreement


def draw(wanted: Wanted, folder: Path, say: Say) -> Drawn:
    """The network as ONNX, with its metadata, checked; `folder` is empty still.

    Raises CannotExport.
    """
    weights = _weights(wanted)
    say(f"Loading {wanted.model.title} …")
    network, spec = build_network(wanted.model, weights), wanted.model.transform
    reference = TorchClassifier(network, spec)
    card = replace(card_of(wanted.model, weights, reference, folder), precision=wanted.precision)
    card.versions.update({name: version(name) for name in ("onnx", "onnxscript")})
    if wanted.precision == "fp16":
        refuse_overflow(network, probes_of(spec)[:LOOKED_AT])
    say("Converting it to ONNX (about fifteen seconds) …")
    typed = Typed(network, torch.float16 if wanted.precision == "fp16" else torch.float32).eval()
    proto = to_onnx(typed, spec.crop)
    onnx.helper.set_model_props(proto, metadata(card))
    onnx.checker.check_model(proto, full_check=True)
    return Drawn(proto, reference, card)


def _weights(wanted: Wanted) -> Weights | None:
    try:
        return obtain(wanted.model, wanted.weights, wanted.store.root / ".downloads")
    except (WeightsMissing, WrongWeights) as error:
        raise CannotExport(f"{str(error).rstrip('.')}. If you have the file: --weights FILE") from error


def to_onnx(network: torch.nn.Module, side: int) -> onnx.ModelProto:
    """Any network of pixels, in eval mode, as ONNX for any N, without torch's notes on where in its code it stood."""
    program = exported(network, side)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        made = torch.onnx.export(
            program, input_names=[INPUT], output_names=[OUTPUT], dynamic_shapes=({0: "batch"},),
            opset_version=OPSET, dynamo=True, verbose=False,
        )  # fmt: skip
    assert made is not None  # noqa: S101  # only without dynamo
    proto = made.model_proto
    for part in (proto, proto.graph, *proto.graph.node, *proto.graph.initializer, *proto.graph.value_info):
        del part.metadata_props[:]
    return proto


def refuse_overflow(network: Normalised, pixels: Pixels) -> None:
    """Raises CannotExport where numbers inside the network are larger than fp16 has.

    What checks an fp16 file here computes it in float32, and would not notice.
    """
    largest = 0.0

    def look(_module: torch.nn.Module, _given: object, came: torch.Tensor) -> None:
        nonlocal largest
        largest = float(np.max([largest, *(abs(float(end)) for end in torch.aminmax(came))]))  # keeps NaN

    hooks = [module.register_forward_hook(look) for module in network.modules()]
    try:
        with torch.inference_mode():
            network(torch.from_numpy(pixels))
    finally:
        for hook in hooks:
            hook.remove()
    if not largest < LARGEST_HALF:
        raise CannotExport(
            f"fp16 holds numbers up to {LARGEST_HALF:.0f}, and those inside this network reach {largest:.3g} "
            "on the golden image: export fp32"
        )
