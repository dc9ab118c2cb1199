"""Which layers int8 hurts: what the catalogue's `float_layers` were chosen by.

    python -m bench.sensitivity [MODEL]

Everything is quantised; then each convolution in turn gets its input back in full precision, and the answers are
compared with those of fp32 on crops that nothing was calibrated on. The more the divergence falls, the more that layer
hurts.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import openvino as ov
from rich.console import Console
from rich.progress import track
from rich.table import Table

from contract.transform import Pixels
from inference.artefacts import ArtefactStore, Variant
from inference.catalogue import BY_NAME
from inference.classifier import Logits, softmax
from inference.ir import MODEL_NAME
from modelzoo.photographs import bundled, crops
from modelzoo.quantize import quantized

CALIBRATION, JUDGED, SHOWN = 100, 96, 12


def logits(network: ov.Model, pixels: Pixels) -> Logits:
    """float32[N,C], on all processors."""
    queue = ov.AsyncInferQueue(ov.Core().compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}))
    answers: list[Logits] = [np.empty(0, np.float32)] * len(pixels)

    def keep(request: ov.InferRequest, place: int) -> None:
        answers[place] = request.get_output_tensor(0).data[0].copy()

    queue.set_callback(keep)
    for place, image in enumerate(pixels):
        queue.start_async({0: image[None]}, place)
    queue.wait_all()
    return np.stack(answers)


def divergence(expected: Logits, got: Logits) -> float:
    """Mean Kullback–Leibler divergence, in nats."""
    p, q = softmax(expected), softmax(got)
    return float((p * (np.log(p) - np.log(q))).sum(axis=1).mean())


def with_exact_input(network: ov.Model, place: int) -> tuple[str, ov.Model]:
    """A copy whose convolution number `place` reads what it would read without quantisation; and what it is."""
    copy = network.clone()
    found = [node for node in copy.get_ordered_ops() if node.get_type_name() in ("Convolution", "GroupConvolution")]
    source = found[place].input(0).get_source_output().get_node()
    if source.get_type_name() == "FakeQuantize":
        found[place].input(0).replace_source_output(source.input(0).get_source_output())
    return f"{found[place].get_type_name()} {list(found[place].get_output_shape(0))}", copy


def main() -> None:
    """Prints the layers that hurt most."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="efficientnet_lite0")
    model = BY_NAME[parser.parse_args().model]
    artefact = ArtefactStore(Path("models")).get(Variant(model.name, "fp32"))
    if artefact is None:
        raise SystemExit(f"bench: build the model first: ninefold models build {model.name}")
    photographs, spec = bundled(), model.transform
    pixels = crops(photographs.gate, JUDGED, spec, least=0.35, seed=2)
    fp32 = ov.Core().read_model(artefact.folder / MODEL_NAME)
    fp32.reshape([1, spec.crop, spec.crop, 3])
    expected = logits(fp32, pixels)
    int8 = quantized(artefact, crops(photographs.calibration, CALIBRATION, spec, least=0.08, seed=0), ())
    int8.reshape([1, spec.crop, spec.crop, 3])
    whole = divergence(expected, logits(int8, pixels))
    count = sum(node.get_type_name() in ("Convolution", "GroupConvolution") for node in int8.get_ops())
    falls = []
    for place in track(range(count), "one layer after the other"):
        what, network = with_exact_input(int8, place)
        falls.append((whole - divergence(expected, logits(network, pixels)), place, what))
    table = Table("convolution", "what", "divergence falls by", title=f"{model.title}: divergence {whole:.4f}")
    for fall, place, what in sorted(falls, reverse=True)[:SHOWN]:
        table.add_row(str(place), what, f"{fall:+.4f}")
    Console().print(table)


if __name__ == "__main__":
    main()
