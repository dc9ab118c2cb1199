"""Which variant answers by default: int8 where its card says that it may, fp32 otherwise, and the reason in words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from inference.artefacts import ArtefactStore, Variant
from inference.choice import ModelMissing, choose, is_built, resolve, usable, why_missing
from inference.devices import MODEL_NAME, PROGRAM_NAME, is_a_name

MODEL = "efficientnet_lite0"


@pytest.fixture
def own(efficientnet: Any, tmp_path: Path) -> ArtefactStore:
    """fp32 alone; `with_int8` adds the other, of which only the card is looked at here."""
    shutil.copytree(efficientnet.folder, tmp_path / MODEL / "fp32")
    return ArtefactStore(tmp_path)


def with_int8(store: ArtefactStore, **changes: Any) -> None:
    card = json.loads((store.root / MODEL / "fp32" / "card.json").read_text())
    card |= {"precision": "int8"}
    card["agreement"] |= {"images": 1000, "top1": 0.94} | changes.pop("agreement", {})
    folder = store.root / MODEL / "int8"
    folder.mkdir()
    (folder / "card.json").write_text(json.dumps(card | changes))
    (folder / MODEL_NAME).touch()


def test_int8_answers_where_the_gate_of_its_card_holds(own: ArtefactStore) -> None:
    with_int8(own)
    choice = choose(own)
    assert choice.variant == Variant(MODEL, "int8") and choice.why_not_int8 is None
    assert resolve(own, MODEL) == Variant(MODEL, "int8")
    assert resolve(own, MODEL, "fp32") == Variant(MODEL, "fp32")


def test_whoever_asks_for_fp32_is_not_told_about_int8(own: ArtefactStore) -> None:
    with_int8(own)
    choice = choose(own, precision="fp32")
    assert choice.variant == Variant(MODEL, "fp32") and choice.why_not_int8 is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"agreement": {"top1": 0.939}}, "93.9% of 1000 pictures; 94% of at least 1000"),
        ({"agreement": {"top1": 1.0, "images": 999}}, "100.0% of 999 pictures"),
        ({"origin": {"kind": "package", "place": "x", "sha256": "0", "licence": ""}}, "of other weights"),
        ({"format": 99}, "cannot be read"),
    ],
)
def test_int8_that_may_not_answer_leaves_it_to_fp32_and_the_reason_is_said(
    own: ArtefactStore, changes: dict[str, Any], words: str
) -> None:
    with_int8(own, **changes)
    choice = choose(own)
    assert choice.variant == Variant(MODEL, "fp32")
    assert words in (choice.why_not_int8 or "")


def test_int8_that_was_never_made_comes_with_the_command_that_makes_it(own: ArtefactStore) -> None:
    assert f"`ninefold models quantize {MODEL}`" in (choose(own).why_not_int8 or "")
    with pytest.raises(ModelMissing, match="it is there in fp32"):
        resolve(own, MODEL, "int8")


def for_cuda(store: ArtefactStore, precision: str, top1: float = 0.99, files: dict[str, Any] | None = None) -> None:
    """A card as a build for CUDA leaves it."""
    card = json.loads((store.root / MODEL / "fp32" / "card.json").read_text())
    card |= {"precision": precision}
    card["files"].pop(PROGRAM_NAME, None)
    card["files"] |= {PROGRAM_NAME: {"size_bytes": 1, "sha256": "0"}} if files is None else files
    card["agreement"] |= {"images": 1000, "top1": top1}
    folder = store.root / MODEL / precision
    folder.mkdir(exist_ok=True)
    (folder / "card.json").write_text(json.dumps(card))
    (folder / (PROGRAM_NAME if files is None else MODEL_NAME)).touch()


def test_on_cuda_fp16_answers_where_its_gate_holds_and_int8_never(own: ArtefactStore) -> None:
    with_int8(own)
    for_cuda(own, "fp32")
    first = choose(own, device="CUDA")
    assert first.variant == Variant(MODEL, "fp32") and first.why_not_int8 is None
    assert f"`ninefold models quantize {MODEL} --device CUDA`" in (first.why_not_faster or "")
    for_cuda(own, "fp16", files={})
    assert choose(own, device="CUDA").variant == Variant(MODEL, "fp32"), "that fp16 is OpenVINO's"
    assert usable(own, MODEL, "CUDA") == ["fp32"] and usable(own, MODEL, "GPU") == ["fp32", "fp16", "int8"]
    (own.root / MODEL / "fp16" / MODEL_NAME).unlink()
    for_cuda(own, "fp16")
    assert usable(own, MODEL, "CUDA") == ["fp32", "fp16"] and usable(own, MODEL, "CPU") == ["fp32", "int8"]
    with pytest.raises(ModelMissing, match="not been built in fp16 for CPU on this server"):
        resolve(own, MODEL, "fp16")
    assert choose(own, device="CUDA:1").variant == Variant(MODEL, "fp16")
    assert choose(own).variant == Variant(MODEL, "int8")
    assert resolve(own, MODEL, "fp32", "CUDA") == Variant(MODEL, "fp32")
    with pytest.raises(ModelMissing, match="not been built in int8 for CUDA on this server; it is there in fp32, fp16"):
        resolve(own, MODEL, "int8", "CUDA")


def test_fp16_that_agrees_too_seldom_leaves_it_to_fp32_and_the_reason_is_said(own: ArtefactStore) -> None:
    for_cuda(own, "fp32")
    for_cuda(own, "fp16", top1=0.5)
    choice = choose(own, device="CUDA")
    assert choice.variant == Variant(MODEL, "fp32") and "50.0% of 1000 pictures" in (choice.why_not_faster or "")


def test_without_a_program_there_is_nothing_for_cuda_and_the_command_is_said(own: ArtefactStore) -> None:
    with_int8(own)
    assert is_built(own, MODEL) and not is_built(own, MODEL, "CUDA")
    with pytest.raises(ModelMissing, match=f"`ninefold models build {MODEL} --device CUDA`"):
        choose(own, device="CUDA")
    for_cuda(own, "fp32")
    assert is_built(own, MODEL, "CUDA")


def test_a_card_that_cannot_be_read_is_the_reason_and_what_was_made_for_another_device_is_not(
    own: ArtefactStore,
) -> None:
    assert "was not made for CUDA" in why_missing(own, MODEL, "CUDA")
    (own.root / MODEL / "fp32" / "card.json").write_text("{")
    assert why_missing(own, MODEL).startswith("its card cannot be read. The command `ninefold models build")


def test_a_model_without_fp32_that_can_be_read_is_not_built(own: ArtefactStore) -> None:
    with_int8(own)
    (own.root / MODEL / "fp32" / "card.json").write_text("{")
    assert not is_built(own, MODEL)
    shutil.rmtree(own.root / MODEL / "fp32")
    assert not is_built(own, MODEL) and choose(own).variant == Variant(MODEL, "int8")


def test_on_cuda_the_fallback_answers_where_the_default_is_there_for_a_cpu_alone(own: ArtefactStore) -> None:
    shutil.copytree(own.root / MODEL, own.root / "resnet18")
    for_cuda(own, "fp32")
    choice = choose(own, device="CUDA")
    assert choice.variant == Variant(MODEL, "fp32")
    assert "not made for CUDA. The command `ninefold models build resnet18 --device CUDA`" in choice.reason
    assert choose(own).variant.model == "resnet18"


def test_an_npu_answers_in_what_it_computes_and_without_that_the_command_is_said(own: ArtefactStore) -> None:
    with pytest.raises(ModelMissing, match=f"no float32. The command `ninefold models quantize {MODEL}` adds it"):
        choose(own, device="NPU")
    with_int8(own, agreement={"top1": 0.9})
    choice = choose(own, device="NPU")
    assert choice.variant == Variant(MODEL, "int8") and "although it has the top-1 of fp32 on 90.0%" in choice.reason
    assert choose(own, device="GPU").variant == Variant(MODEL, "fp32")
    assert usable(own, MODEL, "HETERO:NPU,CPU") == ["int8"] and is_built(own, MODEL, "NPU")


@pytest.mark.parametrize("name", ["CPU", "GPU.1", "CUDA:1", "AUTO", "AUTO:GPU,CPU", "MULTI:GPU.0,NPU"])
def test_names_of_devices(name: str) -> None:
    assert is_a_name(name)


@pytest.mark.parametrize("name", ["", "CUDA1", "CUDDA", "CUDA:", "CPU:1", "GPUS", "TPU"])
def test_other_words_name_no_device(name: str) -> None:
    assert not is_a_name(name)
