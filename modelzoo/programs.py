"""torch → a torch program for CUDA devices: the bare network, exported, so that a server needs none of its classes.

The program is written in float32; the server casts it. How far a cast one agrees with fp32 is measured on the CUDA
device where there is one. Images are built where there is none, and a CPU is slow in half precision: there the program
is computed in float32 and every result on its way is rounded, much as a GPU adds up in float32 and keeps 16 bits.

A detector's program is for float32 alone: what it adds to its features to tell places apart stays float32 in it.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from inference import engines
from inference.artefacts import Artefact
from inference.classifier import Classifier
from inference.devices import PROGRAM_NAME
from inference.torch_classifier import Normalised
from inference.torch_runners import Network, classifier_of, load_program

_CPU = torch.device("cpu")
_SIZES = (1, 10)
_TYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


def write_program(network: Normalised, side: int, folder: Path) -> None:
    """Exports the network without its normalisation, for any batch size, into `folder`."""
    logging.getLogger("torch").setLevel(logging.ERROR)
    with warnings.catch_warnings(), _counting_by_shape():
        warnings.simplefilter("ignore")
        # Two images: torch.export takes a batch of one for a constant.
        exported = torch.export.export(
            network.network, (torch.zeros(2, 3, side, side),), dynamic_shapes=({0: torch.export.Dim("batch")},)
        )
        torch.export.save(exported, folder / PROGRAM_NAME)


@contextmanager
def _counting_by_shape() -> Iterator[None]:
    """Lets transformers' RT-DETR be exported for any number of frames.

    It asks `len` for its batch (transformers 5.23), which can only answer with a number, and the export would be for
    that number; the shape answers with a symbol.
    """
    modelling = sys.modules.get("transformers.models.rt_detr.modeling_rt_detr")
    if modelling is None:
        yield
        return
    vars(modelling)["len"] = lambda thing: thing.shape[0] if isinstance(thing, torch.Tensor) else len(thing)
    try:
        yield
    finally:
        del vars(modelling)["len"]


class Rounded(torch.nn.Module):
    """A program in float32 whose weights, and every result on the way, are rounded to `dtype`."""

    def __init__(self, program: torch.fx.GraphModule, dtype: torch.dtype) -> None:
        super().__init__()
        self.program = program.to(dtype).float()
        self._dtype = dtype

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalised images to logits."""
        logits: torch.Tensor = _Rounding(self.program, self._dtype).run(images)  # it keeps state: one a call
        return logits


class _Rounding(torch.fx.Interpreter):
    def __init__(self, program: torch.fx.GraphModule, dtype: torch.dtype) -> None:
        super().__init__(program)
        self._dtype = dtype

    def run_node(self, n: torch.fx.Node) -> Any:
        """What the node gives, as the device would keep it."""
        value = super().run_node(n)
        if isinstance(value, torch.Tensor) and value.dtype == torch.float32:
            return value.to(self._dtype).float()
        return value


def judged_on_torch(artefact: Artefact) -> Classifier:
    """The artefact as a CUDA device answers it: on one, or else as a CPU can tell. Raises DamagedArtefact."""
    if engines.why_not("CUDA") is None:
        return engines.load(artefact, device="CUDA")
    artefact.verify()
    program, dtype = load_program(artefact, _CPU), _TYPES.get(artefact.card.precision)
    network = Network(Rounded(program, dtype) if dtype else program, artefact.card.transform, torch.float32)
    return classifier_of(network, artefact, _CPU, runners=1, sizes=_SIZES)
