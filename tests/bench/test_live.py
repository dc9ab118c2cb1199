"""The two sides of bench.live: that they do the same work on the same frames, and that it is counted rightly."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.live import eager, stages
from bench.live.eager import Eager
from bench.live.frames import MARGIN, frames
from bench.live.timing import Measured, in_process, measure
from contract.transform import TransformSpec, crop_pixels, decode_rgb, rgb_to_pixels
from inference.artefacts import ArtefactStore, Variant
from inference.boxes import Detection
from inference.engines import load
from inference.filters import GuidedFilter
from tests import pictures
from tests.detectors import fake_detector


def side(spec: TransformSpec) -> Eager:
    return Eager(torch.nn.Identity(), spec, torch.device("cpu"))


def test_both_sides_cut_the_same_part_out_of_a_frame() -> None:
    spec = TransformSpec()
    rgb = np.asarray(pictures.photo((342, 256)))  # its shorter side is as it should be: nothing is resampled
    scaled = side(spec).tensor(rgb).transpose(1, 2, 0) * np.float32(spec.std) + np.float32(spec.mean)
    np.testing.assert_allclose(scaled * 255, rgb_to_pixels(rgb, spec), atol=1e-3)


def test_both_sides_see_the_whole_frame_where_it_is_asked_for() -> None:
    spec = TransformSpec(64, 64, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), whole=True)
    rgb = np.zeros((480, 640, 3), np.uint8)
    rgb[:, 320:, 1] = 255
    tensor = side(spec).tensor(rgb)
    assert tensor.shape == (3, 64, 64) and tensor[1, :, 40:].min() == 1 and tensor[:, :, :24].max() == 0


def test_both_sides_give_a_box_the_same_margin() -> None:
    spec = TransformSpec(8, 8, whole=True)
    rgb = np.asarray(pictures.photo((200, 100)))
    for box in ([0.2, 0.3, 0.6, 0.7], [0.9, 0.9, 1.0, 1.0], [0.5, 0.5, 0.5, 0.5]):
        found = np.array([box], np.float32)
        cut = np.ascontiguousarray(eager._cut(rgb, found[0]))
        np.testing.assert_array_equal(rgb_to_pixels(cut, spec), crop_pixels(rgb, found, MARGIN, spec)[0])


def test_both_sides_decode_and_denoise_alike() -> None:
    data = pictures.jpeg((64, 48))
    theirs = eager.decode(data, denoise=False)
    assert np.abs(theirs.astype(int) - decode_rgb(data)).mean() < 2
    np.testing.assert_array_equal(eager.decode(data, denoise=True), GuidedFilter()(theirs))


def test_every_frame_counts_once() -> None:
    lock, seen = threading.Lock(), []

    def look(data: bytes) -> None:
        with lock:
            seen.append(data)

    measured = in_process(look, [b"a", b"b", b"c"], at_once=2)(0.05)
    assert len(measured.latencies) == len(seen) and set(seen) == {b"a", b"b", b"c"}
    assert 0 < measured.fps <= len(seen) / 0.05 and measured.processor > 0


def test_a_frame_that_takes_longer_than_the_time_is_measured_all_the_same() -> None:
    assert len(in_process(lambda _: None, [b"a"], at_once=3)(0).latencies) == 3


def test_the_round_before_them_does_not_count() -> None:
    asked = []

    def way(seconds: float) -> Measured:
        asked.append(seconds)
        return Measured(len(asked), [0.01, 0.03], 0.04)

    found = measure({"one": way, "two": way}, rounds=2, seconds=3)
    assert asked == [0.5, 0.5, 3, 3, 3, 3]
    assert [each.fps for each in found["one"]] == [3, 6] and [each.fps for each in found["two"]] == [4, 5]
    assert found["one"][0].ms(0.5) == pytest.approx(20) and found["one"][0].processor_ms == pytest.approx(20)


BOXES = [Detection((0.1 * left, 0.2, 0.1 * left + 0.3, 0.9), "thing", 0, 0.9) for left in range(4)]


def test_each_way_of_a_stage_has_the_same_result(int8_dir: Path, tmp_path: Path) -> None:
    store, filtered = ArtefactStore(int8_dir), []
    fp32, int8 = (store.get(Variant("efficientnet_lite0", precision)) for precision in ("fp32", "int8"))
    detector = fake_detector(ArtefactStore(tmp_path), BOXES, ["thing"])
    assert fp32 is not None and int8 is not None

    def denoise(rgb: np.ndarray) -> np.ndarray:
        filtered.append(rgb)
        return GuidedFilter()(rgb)

    parts = stages.Parts((detector, load(detector)), (fp32, load(fp32)), (int8, load(int8)), denoise)
    made = stages.stages(parts, [pictures.jpeg((640, 480))])
    said = {stage: {name: work(given[0]) for name, (work, given) in named.items()} for stage, named in made.items()}
    once, twice = (said["decode, and pixels for both"][name] for name in ("one", "a decoding for each"))
    assert all(np.array_equal(one, other) for one, other in zip(once, twice, strict=True))
    assert [len(each) for each in (once[1], said["crops"]["4"], said["classify the crops"]["one by one, int8"])] == [
        4
    ] * 3
    for precision in ("fp32", "int8"):
        alone, batch = (said["classify the crops"][f"{how}, {precision}"] for how in ("one by one", "as a batch"))
        assert np.abs(alone - batch).max() < 1e-3 * np.ptp(alone)
    before, now = said["a frame, detect+classify"].values()
    np.testing.assert_array_equal(np.concatenate(before), said["classify the crops"]["one by one, fp32"])
    np.testing.assert_array_equal(now, said["classify the crops"]["one by one, int8"])
    assert len({each.tobytes() for each in said["a frame, classify"].values()}) == 3 and len(filtered) == 2


def test_a_way_is_compared_with_the_first_of_its_stage() -> None:
    made: stages.Stages = {"decode": {"two": (len, [b"a"]), "one": (len, [b"a"])}, "track": {"": (len, [b"a"])}}
    assert list(stages.ways(made)) == ["decode: two", "decode: one", "track: "]
    rounds = {"decode: two": (4.0, 6.0), "decode: one": (2.0, 2.0), "track: ": (1.0, 1.0)}
    found = {name: [Measured(1, [each], 1e-3 * each * 2) for each in figures] for name, figures in rounds.items()}
    table = stages.show(made, found)
    assert list(table.columns[0].cells) == ["decode", "", "track"]
    assert list(table.columns[2].cells) == [
        "5000.0 (4000.0–6000.0)",
        "2000.0 (2000.0–2000.0)",
        "1000.0 (1000.0–1000.0)",
    ]
    assert list(table.columns[3].cells) == ["10.0 (8.0–12.0)", "4.0 (4.0–4.0)", "2.0 (2.0–2.0)"]
    assert list(table.columns[4].cells) == ["", "2.50 (2.00–3.00)", ""]


@pytest.mark.samples
def test_frames_are_a_cameras(samples: Path) -> None:
    made = frames(8)
    assert len(made) == 8 and len({each.index for each in made}) > 1
    for each in made:
        assert each.data[:3] == b"\xff\xd8\xff" and decode_rgb(each.data).shape == (480, 640, 3)


def test_photographs_lie_in_the_middle() -> None:
    from bench.live.frames import _as_sent

    picture = Image.new("RGB", (1000, 300), "red")
    picture.paste("blue", (300, 0, 700, 300))
    sent = decode_rgb(_as_sent(pictures.encode(picture)))
    assert sent.shape == (480, 640, 3) and sent[240, 320, 2] > 200 and sent[:, :, 0].max() < 60
