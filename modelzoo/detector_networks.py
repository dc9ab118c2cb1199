"""Detectors as torch modules: weights from the hub or a folder, read by transformers; boxes in the form we answer in.

pixels --Normalised--> images --transformers' network--> logits, boxes --Detecting--> float32[N,Q,6]
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision

from inference.artefacts import sha256_of
from inference.card import Origin
from inference.detectors import Detector
from inference.torch_classifier import Normalised
from modelzoo.networks import SEED, settle_norms
from modelzoo.weights import WeightsMissing, WrongWeights, probe

CONFIG_NAME, WEIGHTS_NAME = "config.json", "model.safetensors"

# transformers writes reports on standard error; what goes wrong is told by us.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


@dataclass(frozen=True)
class DetectorNetwork:
    """A detector ready to be converted: uint8[N,H,W,3] → float32[N,Q,6]; its classes, boxes and origin."""

    module: Normalised
    labels: tuple[str, ...]
    boxes: int
    origin: Origin


class Detecting(torch.nn.Module):
    """A network of transformers with what follows it: normalised float[N,3,H,W] → float32[N,Q,6], by score.

    RT-DETR's scores are sigmoids of their own, so that a box may be two things: of all boxes and classes the Q surest
    are taken. DETR's are a softmax whose last class means that nothing is there: one class a box.
    """

    def __init__(self, network: torch.nn.Module, *, sigmoid: bool) -> None:
        super().__init__()
        self.network = network
        self._sigmoid = sigmoid

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images to boxes."""
        found = self.network(pixel_values=images)
        logits, centred = found.logits, found.pred_boxes
        if self._sigmoid:
            scores, number = torch.topk(logits.sigmoid().flatten(1), logits.shape[1])
            box, classes = number // logits.shape[2], number % logits.shape[2]
        else:
            surest, named = logits.softmax(-1)[..., :-1].max(-1)
            scores, box = torch.topk(surest, logits.shape[1])
            classes = named.gather(1, box)
        boxes = _corners(centred).gather(1, box.unsqueeze(-1).expand(-1, -1, 4))
        return torch.cat([boxes, classes.unsqueeze(-1).to(boxes.dtype), scores.unsqueeze(-1)], dim=-1)


def _corners(centred: torch.Tensor) -> torch.Tensor:
    """Centre and size to edges, no further than the frame."""
    centre, half = centred[..., :2], centred[..., 2:] / 2
    return torch.cat([centre - half, centre + half], dim=-1).clamp(0, 1)


def load_network(detector: Detector, local: Path | None) -> DetectorNetwork:
    """The detector with its weights: from the folder `local`, else from where its source says, or random ones.

    Raises WeightsMissing or WrongWeights.
    """
    if detector.source.kind == "seeded":
        network, origin = _seeded(detector), Origin("seeded", detector.source.repository, "", detector.source.licence)
    else:
        network, origin = _pretrained(detector, local)
    wrapped = Detecting(network.eval(), sigmoid=detector.architecture == "rt_detr")
    module = Normalised(wrapped, detector.transform).eval()
    return DetectorNetwork(module, _labels(network.config), int(network.config.num_queries), origin)


def _seeded(detector: Detector) -> Any:
    from transformers import AutoConfig, AutoModelForObjectDetection  # noqa: PLC0415  # seconds, for detectors alone

    config = AutoConfig.for_model(detector.architecture, **detector.settings)
    names = coco_labels(detector.settings["num_labels"])
    config.id2label, config.label2id = dict(enumerate(names)), {name: number for number, name in enumerate(names)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        # transformers gives this one function no types.
        network = AutoModelForObjectDetection.from_config(config).eval()  # type: ignore[no-untyped-call]
        _keep_alive(network, detector.transform.crop)
    return network


def _keep_alive(network: torch.nn.Module, side: int) -> None:
    """Draws weights that let the signal through. As transformers draws them it dies on its way: all scores are equal
    then, which boxes come first is left to chance, and no comparison of two engines says anything.

    The backbone's gain is 1, for what its blocks add up has nothing to normalise it.
    """
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear) and "sampling_offsets" not in name:
            plain = isinstance(module, torch.nn.Linear) or "backbone" in name
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="linear" if plain else "relu")
    settle_norms(network, lambda: network(pixel_values=torch.rand(2, 3, side, side)))


def _pretrained(detector: Detector, local: Path | None) -> tuple[Any, Origin]:
    """By transformers' own loading code. A weight that a file lacks would be random, and is refused."""
    from safetensors import SafetensorError  # noqa: PLC0415
    from transformers import AutoConfig, AutoModelForObjectDetection  # noqa: PLC0415

    where = _checked_folder(local) if local else _reached(detector)
    try:
        config = AutoConfig.from_pretrained(**where)
        if config.model_type != detector.architecture:
            raise WrongWeights(
                f"{where['pretrained_model_name_or_path']} is {config.model_type}, not {detector.title}."
            )
        network, report = AutoModelForObjectDetection.from_pretrained(
            **where, config=config, use_safetensors=True, output_loading_info=True
        )
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:  # the last: tensors of other shapes
        raise WrongWeights(f"transformers cannot read the weights of {detector.name}: {_first_line(error)}") from error
    except OSError as error:
        raise WeightsMissing(f"transformers cannot load {detector.name}: {_first_line(error)}") from error
    absent = sorted({*report["missing_keys"], *(str(key) for key in report["mismatched_keys"])})
    if absent:
        raise WrongWeights(f"the weights of {detector.name} lack {len(absent)} tensors, {absent[0]} for one.")
    return network, _origin(detector, local)


def _checked_folder(local: Path) -> dict[str, Any]:
    for name in (CONFIG_NAME, WEIGHTS_NAME):
        if not (local / name).is_file():
            raise WeightsMissing(f"there is no {local / name}; a folder as `save_pretrained` writes it is wanted")
    return {"pretrained_model_name_or_path": str(local), "local_files_only": True}


def _reached(detector: Detector) -> dict[str, Any]:
    """What names the weights to transformers. A host that cannot be reached costs seconds: transformers tries long."""
    from huggingface_hub import hf_hub_url, try_to_load_from_cache  # noqa: PLC0415

    repository, revision = detector.source.repository, detector.source.revision
    kept = [
        isinstance(try_to_load_from_cache(repository, name, revision=revision), str)
        for name in (CONFIG_NAME, WEIGHTS_NAME)
    ]
    if not all(kept):
        probe(hf_hub_url(repository, CONFIG_NAME, revision=revision))
    return {"pretrained_model_name_or_path": repository, "revision": revision, "local_files_only": all(kept)}


def _origin(detector: Detector, local: Path | None) -> Origin:
    if local:
        return Origin("folder", local.name, sha256_of(local / WEIGHTS_NAME), detector.source.licence)
    from huggingface_hub import hf_hub_download  # noqa: PLC0415

    repository, revision = detector.source.repository, detector.source.revision
    path = hf_hub_download(repository, WEIGHTS_NAME, revision=revision, local_files_only=True)
    return Origin("hub", f"{repository} at {revision}", sha256_of(Path(path)), detector.source.licence)


def _labels(config: Any) -> tuple[str, ...]:
    return tuple(str(config.id2label[number]) for number in range(config.num_labels))


def coco_labels(count: int) -> tuple[str, ...]:
    """COCO's names from torchvision's metadata, as both networks count them: 91 with gaps, or the 80 that are used."""
    published = torchvision.models.detection.FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    if count == len(published):
        return tuple(published)
    used = [name for name in published if name not in ("__background__", "N/A")]
    return tuple(used) if count == len(used) else tuple(f"class {number}" for number in range(count))


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
