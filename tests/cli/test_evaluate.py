"""`ninefold evaluate`: right figures, no picture lost, nothing asked twice, every file says the same."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from cli.evaluate import figures, report, timing
from cli.evaluate.asking import Asking
from cli.evaluate.choosing import Chosen, chosen
from cli.evaluate.kept import NAME, Answer, Answers, Kept
from cli.evaluate.labels import Spot, place_labels
from cli.evaluate.loading import Loaded, fingerprint, packs
from cli.evaluate.run import Data, Evaluation, read_data
from cli.main import app
from contract.transform import BadImage, Pixels, TransformSpec, to_pixels
from inference.artefacts import Artefact, ArtefactStore
from inference.card import FileEntry
from inference.choice import ModelUnknown
from inference.classifier import Logits
from inference.labelled import Labelled
from inference.openvino_classifier import memory_of
from tests import pictures
from tests.servers import ROOT

MODEL = "efficientnet_lite0"
TRUTH = {
    "bison": 347, "cat": 281, "espresso": 967, "german-shepherd": 235, "koala": 105, "lemur": 383, "macaw": 88,
    "polar-bear": 296, "viaduct": 888,
}  # fmt: skip


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speed is measured, and not well."""
    for name, few in {"ALONE_ROUNDS": 2, "THROUGHPUT_ROUNDS": 1, "_CALLS": 1, "_FILES": 2, "_FILES_A_CORE": 1}.items():
        monkeypatch.setattr(timing, name, few)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder per class, of the page's own samples."""
    folder = tmp_path / "photos"
    for name, index in TRUTH.items():
        (folder / str(index)).mkdir(parents=True)
        shutil.copy(pictures.SAMPLES / f"{name}.jpg", folder / str(index))
    return folder


@pytest.fixture
def own(int8_dir: Path, tmp_path: Path) -> Path:
    """Models that may be written to: efficientnet_lite0 in fp32 and int8."""
    return Path(shutil.copytree(int8_dir, tmp_path / "models"))


def evaluate(data: Path, models: Path, output: Path, *more: object, code: int = 0) -> Result:
    words = ["evaluate", "--data", data, "--models-dir", models, "--output", output, *more]
    result = CliRunner().invoke(app, list(map(str, words)))
    assert result.exit_code == code, result.output
    return result


def read(output: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((output / "evaluation.json").read_text())
    return found


def kept(output: Path) -> list[Any]:
    """Every answer kept, by variant and file."""
    with sqlite3.connect(output / NAME) as base:
        return base.execute(
            "SELECT variant, path, top, error FROM answers JOIN artefacts ON artefacts.id = artefact "
            "JOIN pictures ON pictures.id = picture ORDER BY variant, path"
        ).fetchall()


def accuracy(found: dict[str, Any]) -> list[Any]:
    """What must be the same in each run."""
    names = ("model", "precision", "images", "errors", "top1", "top5", "agreement", "size_bytes", "zipped_bytes")
    return [[variant[name] for name in names] for variant in found["variants"]]


# -- figures -------------------------------------------------------------------------------------------------------


def _five(store: ArtefactStore, precision: str, files: list[Path]) -> list[list[int]]:
    """The five best by numpy alone."""
    from inference.artefacts import Variant
    from inference.openvino_classifier import OpenVinoClassifier

    artefact = store.get(Variant(MODEL, precision))
    assert artefact is not None
    classify = OpenVinoClassifier(artefact, threads=1)
    spec = artefact.card.transform
    return [np.argsort(-classify(to_pixels(path.read_bytes(), spec)[None])[0])[:5].tolist() for path in files]


def test_the_figures_are_those_counted_by_hand(data: Path, int8_dir: Path, tmp_path: Path) -> None:
    shutil.move(data / "105" / "koala.jpg", data / "383")  # a class that is second at best
    evaluate(data, int8_dir, tmp_path / "out")
    found = read(tmp_path / "out")
    files = sorted(data.glob("*/*.jpg"))
    truth = [int(path.parent.name) for path in files]
    tops = {precision: _five(ArtefactStore(int8_dir), precision, files) for precision in ("fp32", "int8")}
    agreed = sum(a[0] == b[0] for a, b in zip(tops["fp32"], tops["int8"], strict=True))
    for variant, precision in zip(found["variants"], ("fp32", "int8"), strict=True):
        assert (variant["model"], variant["precision"], variant["title"]) == (MODEL, precision, "EfficientNet-Lite0")
        first = sum(top[0] == index for top, index in zip(tops[precision], truth, strict=True))
        five = sum(index in top for top, index in zip(tops[precision], truth, strict=True))
        assert first < 9 and first <= five
        assert (variant["top1"]["share"], variant["top5"]["share"]) == (first / 9, five / 9)
        assert variant["top1"]["low"] < variant["top1"]["share"] < variant["top1"]["high"]
        assert (variant["images"], variant["errors"]) == (9, 0)
        assert variant["milliseconds"] > 0 < variant["images_per_second"]
    fp32, int8 = found["variants"]
    assert fp32["agreement"] is None is fp32["time_ratio"]
    assert int8["agreement"]["share"] == agreed / 9 and int8["time_ratio"] > 0
    assert int8["zipped_bytes"] < int8["size_bytes"] < fp32["zipped_bytes"] < fp32["size_bytes"]
    assert found["format"] == 1 and found["data"] == {"name": "photos", "layout": "folders", "images": 9}
    assert set(found["machine"]) == {"device", "processor", "cores", "openvino"} and found["machine"]["cores"] >= 1
    missing = {each["model"]: each["reason"] for each in found["missing"]}
    assert "ninefold models build resnet18" in missing["resnet18"] and MODEL not in missing


def test_of_no_pictures_there_is_no_share() -> None:
    assert figures.share(0, 0) is None
    assert figures.share(1, 1) == {"share": 1.0, "low": pytest.approx(0.2065, abs=1e-4), "high": 1.0}


def test_agreement_is_of_the_pictures_that_both_answered(seeded: Artefact) -> None:
    top = np.array([[1, 2, 3, 4, 5]] * 4, dtype=np.int16)
    other = top.copy()
    other[0] = -1
    other[1, 0] = 9
    speed, lower = timing.Speed(1.0, None, 1.0), replace(seeded, card=replace(seeded.card, precision="int8"))
    measured = [
        figures.Measured(seeded, Answers(top, {}), speed, 1),
        figures.Measured(lower, Answers(other, {0: "corrupt: …"}), speed, 1),
    ]
    int8 = figures.figures({}, {}, [1, 1, 2, 7], measured, [])["variants"][1]
    assert (int8["images"], int8["errors"], int8["agreement"]["share"]) == (4, 1, 2 / 3)
    assert (int8["top1"]["share"], int8["top5"]["share"]) == (0, 1 / 3)


# -- pictures that are none ----------------------------------------------------------------------------------------


def test_a_picture_that_cannot_be_decoded_is_an_error_and_never_lost(
    data: Path, int8_dir: Path, tmp_path: Path
) -> None:
    good = (data / "105" / "koala.jpg").read_bytes()
    (data / "105" / "cut.jpg").write_bytes(good[: len(good) // 2])
    (data / "105" / "text.jpg").write_text("no picture")
    (data / "105" / "empty.png").touch()
    (data / "105" / "gone.jpg").symlink_to(tmp_path / "gone.jpg")
    os.mkfifo(data / "105" / "pipe.jpg")  # reading it would wait for ever
    result = evaluate(data, int8_dir, tmp_path / "out", code=1)
    assert "5 of the images could not be answered" in result.stdout
    for variant in read(tmp_path / "out")["variants"]:
        assert (variant["images"], variant["errors"]) == (14, 5)
        assert variant["top1"]["share"] * 9 == pytest.approx(round(variant["top1"]["share"] * 9))
    errors = {Path(os.fsdecode(path)).name: error for _, path, _, error in kept(tmp_path / "out") if error}
    codes = {name: error.partition(":")[0] for name, error in errors.items()}
    assert codes == {
        "cut.jpg": "truncated", "text.jpg": "unsupported_format", "empty.png": "empty", "gone.jpg": "unreadable",
        "pipe.jpg": "unreadable",
    }  # fmt: skip


def test_data_without_a_picture_that_can_be_answered_is_one_sentence(models_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "data" / "3").mkdir(parents=True)
    (tmp_path / "data" / "3" / "text.jpg").write_text("no picture")
    said = evaluate(tmp_path / "data", models_dir, tmp_path / "out", "--models", MODEL, code=2).stderr
    assert (
        "it answered none of the 1 pictures" in said
        and "text.jpg" in said
        and not (tmp_path / "out/evaluation.json").exists()
    )


# -- going on ------------------------------------------------------------------------------------------------------


def test_what_was_answered_is_not_asked_again_and_what_changed_is(data: Path, models_dir: Path, tmp_path: Path) -> None:
    def asked(*more: str) -> bool | str:
        said = evaluate(data, models_dir, out, "--models", MODEL, *more).stderr
        return "asking" in said and said.partition("asking: ")[2].partition("\n")[0]

    out, koala = tmp_path / "out", data / "105" / "koala.jpg"
    assert asked() == "0 of 9"
    before, right = kept(out), read(out)["variants"][0]["top1"]["share"]
    assert asked() is False
    os.utime(koala, (1, 1))
    assert asked() == "8 of 9" and kept(out) == before
    shutil.copy(pictures.SAMPLES / "cat.jpg", koala)
    assert asked() == "8 of 9" and read(out)["variants"][0]["top1"]["share"] == pytest.approx(right - 1 / 9)
    shutil.copy(pictures.SAMPLES / "koala.jpg", koala)
    assert asked("--restart") == "0 of 9" and kept(out) == before


def test_another_class_for_the_same_picture_costs_no_question(data: Path, own: Path, tmp_path: Path) -> None:
    listed, out = tmp_path / "list.csv", tmp_path / "out"
    for index, asks in ((105, True), (106, False)):
        listed.write_text(f"file,index\nphotos/105/koala.jpg,{index}\nphotos/88/macaw.jpg,88\n")
        said = evaluate(listed, own, out, "--models", f"{MODEL}:fp32").stderr
        assert ("asking" in said) == asks
        assert read(out)["variants"][0]["top1"]["share"] == (1.0 if asks else 0.5)
    assert read(out)["data"] == {"name": "list.csv", "layout": "csv", "images": 2}


def _made_anew(artefact: Path) -> None:
    """The same network in another file."""
    from inference.artefacts import sha256_of
    from inference.card import CARD_NAME

    weights = bytearray((artefact / "model.bin").read_bytes())
    weights.extend(b"\0")  # behind what the network reads
    (artefact / "model.bin").write_bytes(weights)
    card = json.loads((artefact / CARD_NAME).read_text())
    card["files"]["model.bin"] = {"size_bytes": len(weights), "sha256": sha256_of(artefact / "model.bin")}
    (artefact / CARD_NAME).write_text(json.dumps(card))


def test_an_artefact_that_was_made_anew_is_asked_anew_and_the_other_is_not(
    data: Path, own: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    evaluate(data, own, out)
    with sqlite3.connect(out / NAME) as base:  # a mark that only a new answer removes
        base.execute("UPDATE answers SET top = ?", (np.array([1, 2, 3, 4, 5], dtype="<i2").tobytes(),))
    _made_anew(own / MODEL / "int8")
    evaluate(data, own, out)
    fp32, int8 = read(out)["variants"]
    assert fp32["top1"]["share"] == 0 < int8["top1"]["share"]


_SLOWLY = """
import os
from cli.evaluate import asking
from cli.main import app
asking.COMMIT_SECONDS = 0
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
app()
"""


def _stop_after_a_commit(process: subprocess.Popen[str], base: Path, how: signal.Signals) -> str:
    """Sends the signal once answers were kept in this run; returns what it said."""
    assert process.stderr is not None
    first = process.stderr.readline()
    assert "asking" in first
    seen, patience = {base.stat().st_mtime_ns}, time.monotonic() + 60
    while len(seen) < 3 and time.monotonic() < patience:  # with the second the first is whole
        seen.add(base.stat().st_mtime_ns)
        time.sleep(0.01)
    process.send_signal(how)
    return first + process.communicate(timeout=60)[1]


def test_stopped_by_a_signal_at_any_time_it_goes_on_and_ends_the_same(
    data: Path, int8_dir: Path, tmp_path: Path
) -> None:
    for name, index in TRUTH.items():  # so many that it cannot be done before it is stopped
        for number in range(14):
            (data / str(index) / f"{number}.jpg").symlink_to(data / str(index) / f"{name}.jpg")
    out, whole, only = tmp_path / "out", tmp_path / "whole", ("--models", f"{MODEL}:int8")
    out.mkdir()
    words = ["evaluate", "--data", data, "--models-dir", int8_dir, "--output", out, *only]
    command, counts = [sys.executable, "-c", _SLOWLY, *map(str, words)], []
    for how, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130), (signal.SIGTERM, 130)):
        with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
            said = _stop_after_a_commit(process, out / NAME, how)
        assert process.returncode == code, said
        assert ("goes on" in said) == (code == 130) and "Traceback" not in said
        counts.append(len(kept(out)))
        assert not list(out.glob("evaluation.[jmcp]*"))
    assert 0 < counts[0] < counts[1] < counts[2] < 135
    assert f"asking: {counts[2]} of 135" in evaluate(data, int8_dir, out, *only).stderr
    evaluate(data, int8_dir, whole, *only)
    assert kept(out) == kept(whole)
    assert accuracy(read(out)) == accuracy(read(whole))


def test_pictures_are_read_only_a_little_ahead(seeded: Artefact, tmp_path: Path) -> None:
    """Fifty thousand are no more in memory than fifty."""
    started, told, most = 0, 0, 0

    class Counting:
        max_batch, memory_bytes = 1, 0

        def __call__(self, pixels: Pixels) -> Logits:
            nonlocal started, most
            started += 1
            most = max(most, started - told)
            return np.zeros((1, 1000), dtype=np.float32)

    def tell(more: int) -> None:
        nonlocal told
        time.sleep(0.002)
        told += more

    (tmp_path / "a.jpg").write_bytes(pictures.jpeg((64, 48)))
    asked = [Labelled(tmp_path / "a.jpg", 0)] + [Labelled(tmp_path / f"{n}.jpg", 0) for n in range(99)]
    for each in asked[1:]:
        each.path.symlink_to(tmp_path / "a.jpg")
    base = Kept(tmp_path / NAME, asked)
    number = base.artefact("x", "y")
    Asking([Loaded(seeded, Counting())], [number], [base.answers(number)]).ask(asked, base, 2, tell)
    assert told == started == 100 and 2 <= most <= 9
    assert base.answers(number).missing() == []


def test_the_file_of_answers_says_why_it_cannot_be_used(data: Path, models_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / NAME).write_text("this is no database " * 100)
    said = evaluate(data, models_dir, out, "--models", MODEL, code=2).stderr
    assert NAME in said and "--restart" in said
    evaluate(data, models_dir, out, "--models", MODEL, "--restart")
    other = Kept(out / NAME, [])
    other.artefact("x", "y")
    assert "in use" in evaluate(data, models_dir, out, "--models", MODEL, code=2).stderr
    other.close()


def test_a_full_disk_is_one_sentence(data: Path, models_dir: Path, full_disk: Path) -> None:
    (full_disk / "rest").write_bytes(b"x" * 5_200_000)
    said = evaluate(data, models_dir, full_disk, "--models", MODEL, code=1)
    assert "no space left" in said.stderr.lower() and "--output" in said.stderr and MODEL in said.stdout


# -- which variants, which pictures --------------------------------------------------------------------------------


def test_variants_are_chosen_by_name_by_precision_or_all(int8_dir: Path, models_dir: Path) -> None:
    def names(models: str, precisions: str | None = None, root: Path = int8_dir) -> list[str]:
        return [str(each.variant) for each in chosen(ArtefactStore(root), models, precisions).artefacts]

    assert names("all") == names(MODEL) == [f"{MODEL} fp32", f"{MODEL} int8"]
    assert names("all", "int8") == names(f"{MODEL}:int8") == [f"{MODEL} int8"]
    assert names(f" {MODEL}:int8 , {MODEL}:fp32,resnet18") == names("all")
    assert names("all", root=models_dir) == [f"{MODEL} fp32", "resnet18-seeded fp32"]
    for models, precisions, word in (
        ("alexnet", None, "alexnet"),
        (f"{MODEL}:int7", None, "int7"),
        ("all", "x", "'x'"),
    ):
        with pytest.raises(ModelUnknown, match=word):
            names(models, precisions)
    with pytest.raises(ModelUnknown, match="No model is named"):
        names(" , ")


def test_what_is_not_there_is_listed_with_its_reason(int8_dir: Path) -> None:
    found = chosen(ArtefactStore(int8_dir), f"resnet18,{MODEL}:pruned,resnet18-seeded", None)
    missing = {each.model: each.reason for each in found.missing}
    assert found.artefacts == [] and "models build resnet18" in missing["resnet18"]
    assert missing[MODEL] == "it has not been built in pruned; it is there in fp32, int8."
    assert "resnet18-seeded" not in {each.model for each in chosen(ArtefactStore(int8_dir), "all", None).missing}


def test_a_named_precision_that_is_not_there_is_listed_beside_those_that_are(int8_dir: Path) -> None:
    for models, precisions in ((f"{MODEL}:int8,{MODEL}:pruned", None), (MODEL, "int8,pruned")):
        found = chosen(ArtefactStore(int8_dir), models, precisions)
        assert [str(each.variant) for each in found.artefacts] == [f"{MODEL} int8"]
        assert [each.reason for each in found.missing] == [
            "it has not been built in pruned; it is there in fp32, int8."
        ]
    assert not chosen(ArtefactStore(int8_dir), f"{MODEL}:int8,{MODEL}", None).missing


def test_a_variant_that_cannot_answer_is_missing_and_the_others_are_compared(
    data: Path, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference.openvino_classifier.capabilities", lambda _: ["FP32", "INT8"])
    for precision in ("bf16", "pruned"):
        shutil.copytree(own / MODEL / "fp32", own / MODEL / precision)
        card = json.loads((own / MODEL / precision / "card.json").read_text())
        card["precision"] = precision
        if precision == "pruned":
            card["golden"]["predictions"][0]["probability"] = 0.0001
        (own / MODEL / precision / "card.json").write_text(json.dumps(card))
    (own / MODEL / "fp16").mkdir()
    (own / MODEL / "fp16" / "card.json").write_text("{")
    with (own / MODEL / "int8" / "model.bin").open("ab") as weights:
        weights.write(b"x")
    result = evaluate(data, own, tmp_path / "out", "--models", MODEL)
    found = read(tmp_path / "out")
    assert [variant["precision"] for variant in found["variants"]] == ["fp32"]
    reasons = [each["reason"] for each in found["missing"]]
    for words in (
        "in fp16: ", "in bf16: efficientnet_lite0 bf16 needs a processor", "in int8: ", "golden image",
    ):  # fmt: skip
        assert any(words in reason for reason in reasons), (words, reasons)
    assert len(reasons) == 4 and all(reason[:20] in result.stdout for reason in reasons)


def test_nothing_to_compare_and_bad_data_are_one_sentence(data: Path, models_dir: Path, tmp_path: Path) -> None:
    said = evaluate(data, tmp_path / "none", tmp_path / "out", code=2).stderr
    assert "There is nothing to compare" in said and "resnet18: it has not been built" in said
    assert "is not there" in evaluate(tmp_path / "nowhere", models_dir, tmp_path / "out", code=2).stderr
    (data / "dinosaur").mkdir()
    assert "dinosaur" in evaluate(data, models_dir, tmp_path / "out", code=2).stderr


def test_a_limit_draws_the_same_pictures_and_a_larger_one_has_them_too(data: Path, seeded: Artefact) -> None:
    def drawn(limit: int | None, seed: int = 0) -> list[Labelled]:
        return read_data(data, seeded.card.labels, limit, seed).pictures

    assert drawn(4) == drawn(4) and set(drawn(4)) < set(drawn(7)) < set(drawn(None)) and len(drawn(7)) == 7
    assert drawn(4) == [each for each in drawn(None) if each in drawn(4)]
    assert any(drawn(4, seed) != drawn(4) for seed in range(1, 5))
    assert drawn(9) == drawn(100) == drawn(None)
    assert read_data(data, seeded.card.labels, 4, 3).name == "photos, 4 of 9, seed 3"
    assert read_data(data, seeded.card.labels, 9, 3).name == "photos"


def test_variants_that_see_the_same_pixels_are_in_memory_together_within_the_budget(seeded: Artefact) -> None:
    def like(model: str, precision: str = "fp32", crop: int = 224) -> Artefact:
        card = replace(seeded.card, model=model, precision=precision, transform=TransformSpec(crop=crop))
        return replace(seeded, card=card)

    given = [like("a"), like("b", crop=200), like("c"), like("a", "int8"), like("d")]
    size = memory_of(seeded.card)

    def names(budget: int) -> list[str]:
        return ["".join(each.card.model for each in pack) for pack in packs(given, budget)]

    assert names(10 * size) == ["b", "aacd"]
    assert names(3 * size) == ["b", "aac", "d"]
    assert names(0) == ["b", "aa", "c", "d"]


# -- what is written -----------------------------------------------------------------------------------------------


@pytest.fixture
def found() -> dict[str, Any]:
    """Twenty-four variants, some of them at the same place."""
    variants = [
        {
            "model": f"m{model}|x", "title": f"Model {model} of Some Length", "precision": precision,
            "random": False, "images": 256, "errors": 0,
            "top1": figures.share(180 + model, 256), "top5": figures.share(230, 256),
            "agreement": None if precision == "fp32" else figures.share(240, 256),
            "milliseconds": 5.0 * (model + 1) ** 1.5 / turn**0.2,
            "time_ratio": None if precision == "fp32" else 1 / turn, "images_per_second": 100 / 3 * turn,
            "size_bytes": 10_000_001 * model + 4_000_000 // turn, "zipped_bytes": 9_000_001 * model + 3_000_000 // turn,
        }
        for model in range(6)
        for turn, precision in enumerate(("fp32", "fp16", "int8", "pruned"), 1)
    ]  # fmt: skip
    return {
        "format": 1, "made_at": "2026-01-01T00:00:00+00:00", "data": {"name": "p", "layout": "csv", "images": 256},
        "machine": {"processor": "P", "cores": 2, "openvino": "1"}, "variants": variants,
        "missing": [{"model": "gone", "title": "Gone", "reason": "no weights."}],
    }  # fmt: skip


def test_all_files_say_the_same_and_nothing_else_is_left(found: dict[str, Any], tmp_path: Path) -> None:
    report.write(found, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"evaluation.{e}" for e in ("csv", "json", "md", "png")]
    assert read(tmp_path) == found
    with (tmp_path / "evaluation.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    lines = (tmp_path / "evaluation.md").read_text().splitlines()
    body = [line.replace("\\|", "/") for line in lines if line.startswith("| m")][1:]
    assert len(rows) == len(body) == 24 and "gone is missing: no weights." in lines
    for variant, row, line in zip(found["variants"], rows, body, strict=True):
        for name, value in variant.items():
            if name in ("top1", "top5", "agreement"):
                parts = [row[f"{name}_{part}"] for part in ("share", "low", "high")]
                assert [float(part) for part in parts if part] == (list(value.values()) if value else [])
            else:
                assert row[name] == ("" if value is None else str(value))
        shown = [cell.strip() for cell in line.strip("|").split("|")]
        low, high = (f"{100 * variant['top1'][edge]:.1f}" for edge in ("low", "high"))
        assert shown[2] == f"{100 * variant['top1']['share']:.1f} ({low}–{high})"
        assert float(shown[5]) == pytest.approx(variant["milliseconds"], abs=0.006)
        assert float(shown[8]) == pytest.approx(variant["size_bytes"] / 1e6, abs=0.06)


def test_the_picture_is_a_png_of_a_readable_size(found: dict[str, Any], tmp_path: Path) -> None:
    report.write(found, tmp_path)
    with Image.open(io.BytesIO((tmp_path / "evaluation.png").read_bytes())) as image:
        assert image.format == "PNG" and image.size[0] >= 1200 and image.size[1] >= 800
        colours = len(image.convert("RGB").getcolors(1 << 24) or [])
    assert colours > 100


def test_labels_cover_neither_each_other_nor_a_point() -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6))
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set(xlim=(0, 10), ylim=(0, 100))
    spots = [Spot(5 + 0.02 * n, 40, 50 + 0.1 * n, 60, 200, f"a model of some length {n}", "k") for n in range(12)]
    boxes = place_labels(axes, spots)
    assert not any(one.overlaps(other) for place, one in enumerate(boxes) for other in boxes[:place])
    points = [axes.transData.transform((spot.x, spot.middle)) for spot in spots]
    assert not any(box.contains(*point) for box in boxes for point in points)
    assert all(axes.bbox.contains(box.x0, box.y0) and axes.bbox.contains(box.x1, box.y1) for box in boxes)


def test_random_weights_are_in_the_table_and_not_in_the_picture(found: dict[str, Any]) -> None:
    from cli.evaluate.plot import _drawn

    found["variants"][0]["random"] = True
    assert len(_drawn(found)) == 23
    found["variants"] = found["variants"][:1]
    assert len(_drawn(found)) == 1


class Broken:
    max_batch, memory_bytes = 1, 0

    def __call__(self, pixels: Pixels) -> Logits:
        return np.full((1, 1000), np.nan, dtype=np.float32)


class Choosy(Broken):
    """Answers light pictures only."""

    def __call__(self, pixels: Pixels) -> Logits:
        return np.full((1, 1000), 0 if pixels.mean() > 128 else np.nan, dtype=np.float32)


@pytest.mark.parametrize(("other", "errors"), [(Broken(), None), (Choosy(), 1)])
def test_a_variant_without_an_answer_does_not_keep_the_others_from_being_measured(
    other: Broken, errors: int | None, seeded: Artefact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Good(Broken):
        def __call__(self, pixels: Pixels) -> Logits:
            return np.zeros((1, 1000), dtype=np.float32)

    for name, colour in (("dark", 10), ("light", 250)):
        Image.new("RGB", (64, 48), (colour, colour, colour)).save(tmp_path / f"{name}.png")
    asked = [Labelled(tmp_path / f"{name}.png", 0) for name in ("dark", "light")]
    pack = [Loaded(seeded, Good()), Loaded(replace(seeded, card=replace(seeded.card, precision="fp16")), other)]
    monkeypatch.setattr("cli.evaluate.run.load", lambda *_: pack)
    here = Evaluation(Data(asked, "p", "csv"), Chosen([each.artefact for each in pack]), tmp_path, 2)
    found = here.run(lambda *_: lambda _: None)
    told = {each["precision"]: each["errors"] for each in found["variants"]}
    assert told == {"fp32": 0} | ({} if errors is None else {"fp16": errors})
    assert [each["reason"].startswith("in fp16: it answered none") for each in found["missing"]] == [True] * (
        not errors
    )


def test_errors_are_asked_anew(data: Path, models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cli.evaluate import asking

    real = asking.bytes_of

    def locked(path: Path) -> bytes:
        if path.name == "koala.jpg":
            raise BadImage("unreadable", "The file cannot be read: Permission denied.")
        return real(path)

    with monkeypatch.context() as patched:
        patched.setattr(asking, "bytes_of", locked)
        evaluate(data, models_dir, tmp_path / "out", "--models", MODEL, code=1)
    said = evaluate(data, models_dir, tmp_path / "out", "--models", MODEL).stderr
    assert "asking: 8 of 9" in said and read(tmp_path / "out")["variants"][0]["errors"] == 0


@pytest.mark.parametrize("name", ["PIL.__version__", "numpy.__version__", "openvino.__version__"])
def test_what_decides_pixels_and_answers_decides_what_is_kept(
    name: str, seeded: Artefact, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = Loaded(seeded, Broken())
    before = fingerprint(loaded, "CPU")
    assert before == fingerprint(loaded, "CPU") != fingerprint(loaded, "GPU")
    monkeypatch.setattr(Broken, "computes_in", "bf16", raising=False)
    assert fingerprint(loaded, "CPU") != before
    monkeypatch.undo()
    monkeypatch.setattr(name, "0.1")
    assert fingerprint(loaded, "CPU") != before


def test_another_device_computes_and_is_told(data: Path, models_dir: Path, tmp_path: Path) -> None:
    evaluate(data, models_dir, tmp_path / "out", "--models", MODEL, "--device", "hetero:cpu")
    found = read(tmp_path / "out")
    assert found["machine"]["device"] == "HETERO:CPU" and found["variants"][0]["errors"] == 0
    assert "finds no NPU" in evaluate(data, models_dir, tmp_path / "out", "--device", "NPU", code=2).stderr


def test_sizes_are_of_the_files_that_the_device_reads(seeded: Artefact) -> None:
    program = replace(seeded.card, files=seeded.card.files | {"network.pt2": FileEntry(1_000_000, "")})
    assert program.size_on("CPU") == seeded.card.size_bytes == program.loaded_bytes < program.size_bytes
    golden = seeded.card.files[seeded.card.golden.image].size_bytes
    assert program.size_on("CUDA") == 1_000_000 + golden


def test_an_answer_that_is_not_finite_is_an_error(seeded: Artefact, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(pictures.jpeg((64, 48)))
    asked = [Labelled(tmp_path / "a.jpg", 0)]
    base = Kept(tmp_path / NAME, asked)
    number = base.artefact("x", "y")
    answers = base.answers(number)
    Asking([Loaded(seeded, Broken())], [number], [answers]).ask(asked, base, 1, lambda _: None)
    assert answers.errors[0].startswith("no_answer: ") == base.answers(number).errors[0].startswith("no_answer: ")
    assert answers.missing() == [] and Answer().error is None
