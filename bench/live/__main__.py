"""Measures: see the package."""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import psutil
import torch
from rich.console import Console
from rich.table import Table

from bench import live
from bench.live import eager, ours, stages
from bench.live.frames import LabelledFrame, frames
from bench.live.timing import Measured, Way, in_process, measure
from bench.servers import ROOT, own_server
from bench.table import ran_on, ratios, spread
from inference import engines
from inference.artefacts import Artefact, ArtefactStore, Variant
from inference.boxes import match
from inference.choice import ModelMissing
from inference.classifier import Classifier
from inference.devices import cpu_count
from inference.filters import NoFilter
from inference.torch_runners import torch_device

MODEL, DETECTORS = "efficientnet_lite0", ("rtdetr_r18-seeded", "detr_resnet50-seeded")
MODES = ("classify", "detect", "detect+classify")
ONE, SEVERAL = "torch eager, one at a time", "torch eager, a frame a core"
BEST = 10
"""Of a detector's boxes, the surest, are looked for in the other side's."""
Look = Callable[[bytes], ours.Answer]


@dataclass
class Contest:
    """One mode on one device: ways to measure, and what they said of the same frames."""

    title: str
    ways: dict[str, Way]
    said: dict[str, str]


class Bench:
    """What all contests share."""

    def __init__(self, given: argparse.Namespace, device: str, denoise: bool, stack: ExitStack) -> None:
        self.given, self.device, self.stack = given, device, stack
        self.store = ArtefactStore(ROOT / (os.environ.get("NINEFOLD_MODELS_DIR") or "models"))
        self.frames = frames(given.frames)
        self.data = [each.data for each in self.frames]
        self.denoise = engines.load_filter(device=device) if denoise else None
        self.torch_device = torch.device("cpu") if device == "CPU" else torch_device(device)
        self.where = f"{device}{', denoised' if denoise else ''}"

    def artefact(self, name: str, precision: str) -> Artefact:
        """Ends the program with the command that makes it, where it is not there."""
        found = self.store.get(Variant(name, precision))
        return found or sys.exit(f"bench: {name} in {precision} is not there: ninefold models build {name}")

    @functools.cache  # noqa: B019  # it lives as long as the program
    def loaded(self, name: str, precision: str) -> tuple[Artefact, Classifier]:
        """An artefact and its engine."""
        artefact = self.artefact(name, precision)
        return artefact, engines.load(artefact, device=self.device)

    def mine(self, look: Look, data: list[bytes]) -> Way:
        """Ours: as many frames at once as the device has lanes."""
        return in_process(look, data, engines.lanes(self.device))

    def theirs(self, look: Look, data: list[bytes]) -> dict[str, Way]:
        """Torch's: one frame at a time on all cores; on a CPU also a frame a core."""
        ways = {ONE: _on_threads(in_process(look, data, 1), cpu_count())}
        return ways | ({SEVERAL: _on_threads(in_process(look, data, cpu_count()), 1)} if self.device == "CPU" else {})


def _on_threads(way: Way, threads: int) -> Way:
    """`threads`: what torch may use for one call. The threads that `way` starts take it over."""

    def measure(seconds: float) -> Measured:
        torch.set_num_threads(threads)
        return way(seconds)

    return measure


def classify(bench: Bench) -> Iterator[Contest]:
    """The whole frame: in process, through a server, and torch."""
    denoise = bench.denoise is not None
    baseline = eager.classify(eager.classifier(MODEL, bench.torch_device), denoise)
    looks = {
        f"ours, in process, {precision}": ours.classify(*bench.loaded(MODEL, precision), bench.denoise)
        for precision in _precisions(bench)
    }
    ways = {name: bench.mine(look, bench.data) for name, look in looks.items()}
    firsts = {name: [int(look(each)[0].argmax()) for each in bench.data] for name, look in looks.items()}
    if bench.device == "CPU" and not denoise:
        precision = _precisions(bench)[0]
        server = ours.Server(*_server(bench), f"mode=classify&top_k=1&precision={precision}")
        for sessions in (1, 4):
            name = f"our server, {sessions} session{'s' * (sessions > 1)}, {precision}"
            ways[name] = functools.partial(ours.over_websockets, server, bench.data, sessions)
            firsts[name] = ours.first_answers(server, bench.data)
    ways |= bench.theirs(baseline, bench.data)
    torchs = [int(baseline(each)[0].argmax()) for each in bench.data]
    said = {name: _agreement(found, torchs, bench.frames) for name, found in firsts.items()}
    said[ONE] = _agreement(torchs, torchs, bench.frames)
    yield Contest(f"classify, {MODEL}", ways, said)


def detect(bench: Bench) -> Iterator[Contest]:
    """Boxes, by each detector."""
    data = bench.data[: bench.given.detect_frames]
    for name in DETECTORS:
        artefact, network = bench.loaded(name, "fp32")
        mine = ours.detect(artefact, network, bench.denoise)
        baseline = eager.detect(eager.detector(name, bench.torch_device), bench.denoise is not None)
        found = statistics.fmean(match(mine(each)[0], baseline(each)[0], BEST).found for each in data)
        way = f"ours, in process, {artefact.card.precision}"
        said = {way: f"{found:.0%} of its {BEST} surest boxes"}
        yield Contest(f"detect, {name}", {way: bench.mine(mine, data), **bench.theirs(baseline, data)}, said)


def both(bench: Bench) -> Iterator[Contest]:
    """Boxes, and what is in the surest four."""
    data = bench.data[: bench.given.detect_frames]
    boxes, classes = bench.loaded(DETECTORS[0], "fp32"), bench.loaded(MODEL, _precisions(bench)[0])
    way = f"ours, in process, fp32 and {classes[0].card.precision}"
    mine = ours.detect_and_classify(boxes, classes, bench.denoise)
    torchs = eager.detector(DETECTORS[0], bench.torch_device), eager.classifier(MODEL, bench.torch_device)
    baseline = eager.detect_and_classify(*torchs, bench.denoise is not None)
    ways = {way: bench.mine(mine, data), **bench.theirs(baseline, data)}
    yield Contest(f"detect+classify, {DETECTORS[0]} and four crops by {MODEL}", ways, {})


def _precisions(bench: Bench) -> tuple[str, ...]:
    """The fastest first."""
    return ("int8", "fp32") if bench.device == "CPU" else ("fp16", "fp32")


def _server(bench: Bench) -> tuple[str, psutil.Process]:
    """Its address and process; it ends with the bench. It may answer as fast as it can."""
    settings = {"NINEFOLD_MODEL": MODEL, "NINEFOLD_MODELS_DIR": str(bench.store.root), "NINEFOLD_LIVE_FPS": "1000"}
    return bench.stack.enter_context(own_server(**settings))


def _agreement(found: list[int], torchs: list[int], labelled: list[LabelledFrame]) -> str:
    same = int(np.sum(np.equal(found, torchs)))
    right = sum(index == each.index for index, each in zip(found, labelled, strict=True))
    return f"{same} as torch's, {right} right, of {len(found)}"


def show(contest: Contest, found: Mapping[str, list[Measured]], where: str) -> Table:
    """A row a way, the ratios beside each of torch's ways."""
    costs = SEVERAL if SEVERAL in found else ONE
    heads = ("FPS", "median, ms", "p95, ms", "processor, ms", "FPS over torch, one", "over torch, a core")
    table = Table(
        "", *heads, "processor below torch", "first answers", title=f"{contest.title}; {where}", caption=ran_on()
    )
    fps, taken = ({name: [pick(each) for each in rounds] for name, rounds in found.items()} for pick in (_fps, _taken))
    for name, rounds in found.items():
        medians, tails = ([each.ms(share) for each in rounds] for share in (0.5, 0.95))
        times = [spread(ratios(fps[name], fps[other]), 1) if other in fps else "" for other in (ONE, SEVERAL)]
        cheaper = spread(ratios(taken[costs], taken[name]), 1)
        figures = (fps[name], medians, tails, taken[name])
        table.add_row(name, *map(spread, figures), *times, cheaper, contest.said.get(name, ""))
    return table


def _fps(measured: Measured) -> float:
    return measured.fps


def _taken(measured: Measured) -> float:
    return measured.processor_ms


def by_stage(given: argparse.Namespace) -> Table:
    """What a frame takes on a CPU, and each choice beside its alternative."""
    with ExitStack() as stack:
        bench = Bench(given, "CPU", True, stack)
        assert bench.denoise is not None  # noqa: S101  # it was asked for
        both = (bench.loaded(MODEL, precision) for precision in ("fp32", "int8"))
        parts = stages.Parts(bench.loaded(DETECTORS[0], "fp32"), *both, bench.denoise)
        made = stages.stages(parts, bench.data[: given.detect_frames])
        return stages.show(made, measure(stages.ways(made), given.rounds, given.seconds))


def options() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.live", description=live.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stages", action="store_true", help="a frame stage by stage on a CPU, in place of all else")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4, help="of each way in each round")
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--detect-frames", type=int, default=4, help="of those, for detectors")
    parser.add_argument(
        "--filter", action="store_true", help="denoise each frame first; on CUDA that is measured anyway"
    )
    parser.add_argument("--quick", action="store_true", help="a smoke run: its figures say nothing")
    given = parser.parse_args()
    if given.quick:
        given.rounds, given.seconds, given.frames, given.detect_frames = 1, 0.3, 8, 1
    return given


def main() -> None:
    """Prints a table a mode, on the CPU and, where torch finds it, on CUDA."""
    given, console = options(), Console(width=170)
    if given.stages:
        console.print(by_stage(given))
        return
    contests = {"classify": classify, "detect": detect, "detect+classify": both}
    runs = [("CPU", given.filter)]
    if torch.cuda.is_available():
        runs += [("CUDA", False), ("CUDA", True)]
    for device, denoise in runs:
        with ExitStack() as stack:
            try:
                bench = Bench(given, device, denoise, stack)
                for mode in given.modes:
                    for contest in contests[mode](bench):
                        console.print(show(contest, measure(contest.ways, given.rounds, given.seconds), bench.where))
            except (ModelMissing, NoFilter) as error:
                print(f"bench: {device} was not measured further: {error}", file=sys.stderr)
    if len(runs) == 1:
        print("bench: torch finds no CUDA device here, so there is no figure of a GPU", file=sys.stderr)


if __name__ == "__main__":
    main()
