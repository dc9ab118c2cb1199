"""How fast variants are, in turns, so that what disturbs the machine disturbs all of them.

Alone: one picture's pixels to logits, as a lane of the server asks. Throughput: files' bytes to the five best, on a
thread a core.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice
from statistics import median

from cli.evaluate.asking import answer, bytes_of
from cli.evaluate.kept import Answers
from cli.evaluate.loading import Loaded
from contract.transform import Pixels, to_pixels
from inference.labelled import Labelled

ALONE_ROUNDS, THROUGHPUT_ROUNDS = 25, 5
TURNS_A_VARIANT = ALONE_ROUNDS + THROUGHPUT_ROUNDS
_CALLS = 3
_FILES, _MOST_BYTES = 32, 64_000_000
_FILES_A_CORE = 8


@dataclass(frozen=True)
class Speed:
    """One picture alone, in ms; that over the same model's fp32, or None; images per second on all cores."""

    milliseconds: float
    time_ratio: float | None
    images_per_second: float


def timing_files(pictures: Sequence[Labelled], answers: Answers) -> list[bytes]:
    """Some of the pictures that were answered, from all over the data."""
    good = [place for place in range(len(pictures)) if answers.top[place, 0] >= 0]
    step = max(len(good) // _FILES, 1)
    files: list[bytes] = []
    for place in good[::step][:_FILES]:
        files.append(bytes_of(pictures[place].path))
        if sum(map(len, files)) >= _MOST_BYTES:
            break
    return files


def measure(pack: Sequence[Loaded], files: Sequence[bytes], threads: int, tell: Callable[[int], None]) -> list[Speed]:
    """Each variant's speed on these pictures, of which there is at least one; `tell` hears of each turn."""
    if not pack:
        return []
    spec = pack[0].artefact.card.transform
    pixels = [to_pixels(data, spec)[None] for data in files]
    alone: list[list[float]] = [[] for _ in pack]
    for number in range(ALONE_ROUNDS):
        for turn in _turns(len(pack), number):
            alone[turn].append(_alone(pack[turn], pixels[number % len(pixels)]))
            tell(1)
    rates = _throughput(pack, list(islice(cycle(files), max(len(files), _FILES_A_CORE * threads))), threads, tell)
    references = [_reference(pack, each) for each in pack]
    return [
        Speed(1000 * median(seconds), None if of is None else _ratio(seconds, alone[of]), median(rate))
        for seconds, of, rate in zip(alone, references, rates, strict=True)
    ]


def _turns(count: int, number: int) -> list[int]:
    """The order of round `number`: each is first as often as the others."""
    return [(number + turn) % count for turn in range(count)]


def _alone(loaded: Loaded, pixels: Pixels) -> float:
    """Seconds of a call, right after one that fetched the network's weights and does not count."""
    loaded.classifier(pixels)
    seconds = []
    for _ in range(_CALLS):
        begun = time.perf_counter()
        loaded.classifier(pixels)
        seconds.append(time.perf_counter() - begun)
    return median(seconds)


def _throughput(
    pack: Sequence[Loaded], files: Sequence[bytes], threads: int, tell: Callable[[int], None]
) -> list[list[float]]:
    """Images per second of each variant, a figure a round."""
    rates: list[list[float]] = [[] for _ in pack]
    spec = pack[0].artefact.card.transform
    with ThreadPoolExecutor(threads) as pool:
        for number in range(THROUGHPUT_ROUNDS):
            for turn in _turns(len(pack), number):
                loaded = pack[turn]
                begun = time.perf_counter()
                for _ in pool.map(lambda data, loaded=loaded: answer(loaded, to_pixels(data, spec)), files):
                    pass
                rates[turn].append(len(files) / (time.perf_counter() - begun))
                tell(1)
    return rates


def _reference(pack: Sequence[Loaded], loaded: Loaded) -> int | None:
    """The place of the same model's fp32, unless that is what this is."""
    card = loaded.artefact.card
    if card.precision == "fp32":
        return None
    variants = [(each.artefact.card.model, each.artefact.card.precision) for each in pack]
    return variants.index((card.model, "fp32")) if (card.model, "fp32") in variants else None


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the rounds' ratios: what disturbs a round disturbs both."""
    return median(a / b for a, b in zip(ours, theirs, strict=True))
