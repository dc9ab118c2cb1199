"""The guided filter: OpenCV's and our kernel against the formula in float64, where they might fail."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from contract.transform import Pixels
from inference import engines
from inference.filters import MOST_RADIUS, Border, FilterSpec, GuidedFilter, NoFilter, Values, reference
from inference.torch_runners import NoDevice

ROOT = Path(__file__).parents[2]
SPECS = [FilterSpec(), FilterSpec(1, 0.02), FilterSpec(MOST_RADIUS, 0.2), FilterSpec(4, 0.001)]
NEAR, NEARER = 0.52, 0.501
"""OpenCV's and our kernel's largest difference from the reference, in levels; half a level is rounding."""

needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="Triton is for Linux alone")


def noise(height: int, width: int, least: int = 0, most: int = 255) -> Pixels:
    return np.random.default_rng(height * width).integers(least, most, (height, width, 3), np.uint8, endpoint=True)


def flat(value: int) -> Pixels:
    return np.full((33, 21, 3), value, dtype=np.uint8)


def steps(dark: int, bright: int) -> Pixels:
    """An edge that is upright in red, level in green and aslant in blue."""
    y, x = np.mgrid[:40, :60]
    return np.where(np.stack([x < 29, y < 13, x + y < 50], axis=-1), dark, bright).astype(np.uint8)


SIZES = [(1, 1), (2, 2), (3, 5), (1, 40), (40, 1), (9, 9), (48, 48), (49, 97)]
FRAMES = {f"{height}×{width}": noise(height, width) for height, width in SIZES}
FRAMES |= {f"flat {value}": flat(value) for value in (0, 1, 255)}
FRAMES |= {"black and white": steps(0, 255), "a step of one level": steps(254, 255), "faint": noise(50, 51, 120, 124)}
CASES = list(product(FRAMES, SPECS))
each_case = pytest.mark.parametrize(("name", "spec"), CASES)

KERNEL = """
import sys, numpy as np, torch
from inference.filters import FilterSpec
from inference.filters_cuda import CudaGuidedFilter, guided
folder, device = sys.argv[1], torch.device(sys.argv[2])
frames, answers = np.load(folder + "/frames.npz"), {}
for radius, deviation in np.load(folder + "/specs.npy"):
    spec = FilterSpec(int(radius), float(deviation))
    one = CudaGuidedFilter(device, spec)
    answers |= {f"{name} {spec}": one(frames[name]) for name in frames}
three = torch.from_numpy(np.stack([frames["49×97"], 255 - frames["49×97"], frames["49×97"]])).to(device)
given = torch.zeros_like(three)
assert guided(three, FilterSpec(), given) is given
for wrong in (three[0], three.float(), three[:, :, ::2], three[..., :1].contiguous(), three[:0]):
    try:
        guided(wrong, FilterSpec())
        raise SystemExit(f"took {wrong.dtype}{list(wrong.shape)}")
    except ValueError:
        pass
np.savez(folder + "/answers.npz", three=given.cpu().numpy(), **answers)
"""


def run(code: str, *words: str, **environment: str) -> str:
    """What the code prints, in a process of its own: Triton decides at its import whether it interprets."""
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=ROOT,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pixels]:
    """What our kernel makes of each case: on a CUDA device if there is one, else as Triton interprets it on the CPU."""
    folder = tmp_path_factory.mktemp("kernel")
    np.savez(folder / "frames.npz", allow_pickle=False, **FRAMES)
    np.save(folder / "specs.npy", [(spec.radius, spec.deviation) for spec in SPECS])
    device, interpreted = ("cuda", "0") if torch.cuda.is_available() else ("cpu", "1")
    run(KERNEL, str(folder), device, TRITON_INTERPRET=interpreted, TRITON_CACHE_DIR=str(folder))
    answers = np.load(folder / "answers.npz")
    return lambda name: np.asarray(answers[name])


def by_hand(frame: Pixels, spec: FilterSpec, border: Border) -> Iterator[tuple[int, int, Values]]:
    """The paper's words, a window at a time: a line fitted in each, a pixel the mean of what its windows' lines say."""
    height, width, _ = frame.shape

    def window(y: int, x: int) -> list[tuple[int, int]]:
        reach = range(-spec.radius, spec.radius + 1)
        places = [(y + down, x + right) for down in reach for right in reach]
        if border == "mirror":
            return [(mirrored(v, height), mirrored(u, width)) for v, u in places]
        return [(v, u) for v, u in places if 0 <= v < height and 0 <= u < width]

    def line(y: int, x: int) -> tuple[Values, Values]:
        values = np.array([frame[place] for place in window(y, x)], dtype=np.float64)
        a = values.var(axis=0) / (values.var(axis=0) + (255 * spec.deviation) ** 2)
        return a, values.mean(axis=0) - a * values.mean(axis=0)

    lines = {(y, x): line(y, x) for y in range(height) for x in range(width)}
    for y, x in lines:
        around = [lines[place] for place in window(y, x)]
        yield y, x, np.mean([a * frame[y, x] + b for a, b in around], axis=0)


def mirrored(place: int, size: int) -> int:
    while not 0 <= place < size:
        place = -1 - place if place < 0 else 2 * size - 1 - place
    return place


@pytest.mark.parametrize("border", ["mirror", "shrink"])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 12)])
def test_the_reference_is_the_papers_formula(size: tuple[int, int], border: Border) -> None:
    frame, spec = noise(*size), FilterSpec(3, 0.1)
    expected = reference(frame, spec, border)
    assert all(np.abs(expected[y, x] - value).max() < 1e-9 for y, x, value in by_hand(frame, spec, border))


@each_case
def test_opencv_is_the_reference_to_rounding(name: str, spec: FilterSpec) -> None:
    filtered = GuidedFilter(spec)(FRAMES[name])
    assert filtered.dtype == np.uint8 and filtered.shape == FRAMES[name].shape
    assert np.abs(filtered - reference(FRAMES[name], spec)).max() < NEAR


@needs_triton
@each_case
def test_our_kernel_is_the_reference_to_rounding(kernel: Callable[[str], Pixels], name: str, spec: FilterSpec) -> None:
    filtered = kernel(f"{name} {spec}")
    assert filtered.dtype == np.uint8 and filtered.shape == FRAMES[name].shape
    assert np.abs(filtered - reference(FRAMES[name], spec)).max() < NEARER


@needs_triton
def test_our_kernel_takes_several_frames_at_once(kernel: Callable[[str], Pixels]) -> None:
    frame, (first, other, last) = FRAMES["49×97"], kernel("three")
    assert (first == kernel(f"49×97 {FilterSpec()}")).all() and (last == first).all()
    assert np.abs(other - reference(255 - frame, FilterSpec())).max() < NEARER


COMPILED = """
import torch
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from inference import filters_cuda
from inference.filters import NoFilter
types = dict(source="*u8", target="*u8", height="i32", width="i32", eps="fp32", radius="constexpr", side="constexpr")
source = ASTSource(filters_cuda._guided, types, dict(radius=4, side=64))
for capability in 80, 90:
    made = compile(source, GPUTarget("cuda", capability, 32), dict(num_warps=4, enable_fp_fusion=True))
    print(made.metadata.shared, sum(made.asm["ptx"].count(name) for name in ("mma.sync", "wgmma.mma_async")))
try:
    filters_cuda.CudaGuidedFilter(torch.device("cpu"))
except NoFilter as error:
    print(error)
"""


@needs_triton
def test_our_kernel_compiles_for_tensor_cores_and_without_a_device_it_says_why_not(tmp_path: Path) -> None:
    words = run(COMPILED, TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path)).splitlines()
    for shared, multiplications in (map(int, line.split()) for line in words[:2]):
        assert 0 < shared <= 48 * 1024 and multiplications >= 14
    assert words[2].startswith("Triton cannot start on cpu: ")


@pytest.mark.parametrize("spec", SPECS)
def test_shrinking_windows_differ_at_the_border_alone(spec: FilterSpec) -> None:
    frame, reach = noise(70, 80), 2 * spec.radius
    apart = np.abs(reference(frame, spec, "shrink") - reference(frame, spec))
    assert apart[reach:-reach, reach:-reach].max() < 1e-9 < apart.max()


@pytest.mark.parametrize(("spec", "most"), [(FilterSpec(), 0.72), (FilterSpec(7, 0.2), 7.6)])
def test_how_far_shrinking_windows_differ_is_as_documented(spec: FilterSpec, most: float) -> None:
    apart = [np.abs(reference(frame, spec, "shrink") - reference(frame, spec)).max() for frame in FRAMES.values()]
    assert most - 0.1 < max(apart) < most


def test_it_takes_noise_and_leaves_edges() -> None:
    clean = steps(40, 200)
    noisy = (clean + np.random.default_rng(0).normal(0, 5, clean.shape)).round().astype(np.uint8)
    filtered = GuidedFilter()(noisy)
    assert np.abs(filtered - clean.astype(int)).mean() < np.abs(noisy - clean.astype(int)).mean() / 2
    assert (filtered[20, 30:32, 0] > 180).all() and (filtered[20, 27:29, 0] < 60).all()


def test_a_view_is_filtered_as_its_copy_and_not_changed() -> None:
    frame, denoise = noise(40, 50), GuidedFilter()
    frame.flags.writeable = False
    for view in (frame[5:30, 7:40], frame[::-1, ::2], frame[..., ::-1]):
        assert (denoise(view) == denoise(view.copy())).all()


@pytest.mark.parametrize(
    "wrong",
    [noise(4, 5)[..., 0], noise(4, 5)[..., :1], noise(4, 5)[None], noise(4, 5).astype(np.float32), noise(4, 5)[:0]],
    ids=lambda wrong: f"{wrong.dtype}{list(wrong.shape)}",
)
def test_what_is_no_frame_is_refused(wrong: Pixels) -> None:
    with pytest.raises(ValueError, match=r"expected uint8\[H,W,3\], got "):
        GuidedFilter()(wrong)


@pytest.mark.parametrize(("radius", "deviation"), [(0, 0.1), (8, 0.1), (4, 0), (4, 1.1), (4, float("nan"))])
def test_parameters_out_of_range_are_refused(radius: int, deviation: float) -> None:
    with pytest.raises(ValueError, match=r"the filter's (radius|deviation) must be between"):
        FilterSpec(radius, deviation)


def test_an_opencv_without_its_contributions_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2.ximgproc, "guidedFilter")
    with pytest.raises(NoFilter, match=r"requirements/live\.txt"):
        GuidedFilter()
    monkeypatch.delattr(cv2, "ximgproc")
    with pytest.raises(NoFilter, match="lacks its contributions"):
        GuidedFilter()


def test_threads_share_a_filter_and_opencv_starts_none_of_its_own() -> None:
    cv2.setNumThreads(4)
    denoise, frames, answers = GuidedFilter(), [noise(40 + number, 60) for number in range(8)], {}
    threads = [
        threading.Thread(target=lambda number=number: answers.setdefault(number, denoise(frames[number])))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cv2.getNumThreads() == 1
    assert all((answers[number] == denoise(frame)).all() for number, frame in enumerate(frames))


def test_only_who_filters_pays_for_opencv_and_only_cuda_for_triton() -> None:
    code = (
        "import sys\n"
        "from inference import engines\n"
        "def here(): return sorted({'cv2', 'torch', 'triton'} & set(sys.modules))\n"
        "before = here(); engines.load_filter(); print(before, here())\n"
    )
    assert run(code) == "[] ['cv2']\n"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_every_device_has_its_filter() -> None:
    assert isinstance(engines.load_filter(device="GPU"), GuidedFilter)
    if find_spec("triton"):
        with pytest.raises(NoDevice):
            engines.load_filter(device="CUDA")
