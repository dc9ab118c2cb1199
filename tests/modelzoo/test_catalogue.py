"""The catalogue against what those who published the weights say of them: transform, classes, licence, address."""

import io
import math
from pathlib import Path

import numpy as np
import pytest
import timm
import torchvision
from PIL import Image
from timm.data import ImageNetInfo, create_transform, resolve_data_config
from torchvision.transforms import CenterCrop, Compose, Normalize, Resize

from contract.transform import TransformSpec, to_pixels
from inference.catalogue import BY_NAME, CATALOGUE, Model
from modelzoo.networks import imagenet_labels
from modelzoo.weights import hash_in_name, published_address
from tests import pictures

NAMES = ("resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_large", "xception", "efficientnet_lite0")
PUBLISHED = [model for model in CATALOGUE if not model.for_measurements_only]
FROM_TORCHVISION = [model for model in PUBLISHED if model.source.kind == "torchvision"]
XCEPTION = BY_NAME["xception"]


def weights_of(model: Model) -> torchvision.models.WeightsEnum:
    return torchvision.models.get_weight(model.source.weights)


def test_there_are_six_models_and_each_has_a_twin_with_random_weights() -> None:
    assert [model.name for model in PUBLISHED] == list(NAMES)
    assert [model.name for model in CATALOGUE if model.for_measurements_only] == [f"{name}-seeded" for name in NAMES]
    for name in NAMES:
        model, twin = BY_NAME[name], BY_NAME[f"{name}-seeded"]
        assert (twin.architecture, twin.transform) == (model.architecture, model.transform)
        assert twin.source.licence == "none" and "random" in twin.title


@pytest.mark.parametrize("model", FROM_TORCHVISION, ids=lambda model: model.name)
def test_the_transform_is_that_of_torchvisions_metadata(model: Model) -> None:
    published = weights_of(model).transforms()
    assert model.transform == TransformSpec(
        published.resize_size[0],
        published.crop_size[0],
        published.interpolation.value,
        tuple(published.mean),
        tuple(published.std),
    )
    assert type(weights_of(model)).__name__.removesuffix("_Weights").lower() == model.architecture


def test_the_transform_of_xception_is_that_of_timms_metadata() -> None:
    published = timm.models.get_pretrained_cfg(XCEPTION.source.weights)
    _, side, _ = published.input_size
    assert XCEPTION.transform == TransformSpec(
        math.floor(side / published.crop_pct), side, published.interpolation, published.mean, published.std
    )
    assert XCEPTION.source.licence.lower() == published.license
    assert XCEPTION.architecture == f"timm/{published.architecture}"
    resize, crop, _, normalise = _timms().transforms
    assert isinstance(resize, Resize) and isinstance(crop, CenterCrop) and isinstance(normalise, Normalize)
    assert (resize.size, crop.size) == (XCEPTION.transform.resize, (side, side))


@pytest.mark.parametrize("name", ["resnet50", "xception"])
def test_our_pixels_are_those_of_the_published_transform(name: str) -> None:
    """Not only the numbers: what 232 and bilinear, or 333 and bicubic, make of a picture."""
    data, spec = pictures.sample("koala.jpg"), BY_NAME[name].transform
    if name == "xception":
        geometry = Compose(_timms().transforms[:2])
    else:
        published = weights_of(BY_NAME[name]).transforms()
        geometry = Compose([Resize(published.resize_size, published.interpolation), CenterCrop(published.crop_size)])
    with Image.open(io.BytesIO(data)) as picture:
        theirs = np.asarray(geometry(picture.convert("RGB")))
    ours = to_pixels(data, spec)
    assert ours.shape == theirs.shape == (spec.crop, spec.crop, 3)
    assert np.abs(ours.astype(int) - theirs).mean() < 0.05


def test_the_classes_stand_in_the_same_order_everywhere() -> None:
    labels = imagenet_labels()
    assert len(labels) == 1000
    for model in FROM_TORCHVISION:
        assert tuple(weights_of(model).meta["categories"]) == labels
    published, described = timm.models.get_pretrained_cfg(XCEPTION.source.weights), ImageNetInfo("imagenet-1k")
    assert published.num_classes == 1000 and not published.label_offset
    # Some are worded differently ("crane bird", "crane"), but begin alike.
    for index, label in enumerate(labels):
        assert label.split()[0].lower() in described.index_to_description(index).lower(), index


def test_every_address_carries_its_hash_and_no_two_models_share_weights() -> None:
    addresses = [published_address(model) for model in PUBLISHED if model.source.kind != "package"]
    assert all(hash_in_name(address) in Path(address).name for address in addresses)
    assert len(set(addresses)) == len(addresses) == 5
    assert published_address(XCEPTION) == timm.models.get_pretrained_cfg("legacy_xception.tf_in1k").url


def _timms() -> Compose:
    """The transform that timm itself makes of Xception's metadata."""
    published = timm.models.get_pretrained_cfg(XCEPTION.source.weights)
    return create_transform(**resolve_data_config(pretrained_cfg=published.to_dict()))
