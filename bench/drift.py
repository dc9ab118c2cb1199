"""The drift figure of a real server while real photographs of another kind come, and once they have gone by.

    python -m bench.drift [--png FILE]

A mixed stream of the labelled photographs is the reference, a thousand answers long. Then come dogs alone, the mixed
stream again, the mixed stream as through a dirty lens, and it as it was. The figure is the server's own, read from
/metrics; what is sent and in which order is the same in every run.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
from matplotlib import pyplot as plt
from PIL import Image, ImageFilter
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table

from backend.drift import REFERENCE_ANSWERS, WINDOW_ANSWERS
from bench.photographs import Photograph, samples
from bench.servers import own_server

IMAGES_A_REQUEST = 9
STEP = 125
"""Answers between two looks at the figure."""
ALARM = 0.25
DOGS = range(151, 269)


@dataclass(frozen=True)
class Look:
    """The figures after so many answers; none yet: NaN."""

    stage: str
    answers: int
    labels: float
    confidence: float


class Stream:
    """Photographs, drawn at random, to one server."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=60, trust_env=False)
        self._random = np.random.default_rng(0)
        self._sent = 0
        self.looks: list[Look] = []

    def send(self, stage: str, photographs: Sequence[Photograph], count: int) -> None:
        """So many of them, with a look every STEP."""
        for start in range(0, count, STEP):
            chosen = self._random.integers(len(photographs), size=min(STEP, count - start))
            for first in range(0, len(chosen), IMAGES_A_REQUEST):
                group = [photographs[place] for place in chosen[first : first + IMAGES_A_REQUEST]]
                files = [("images", (each.name, each.data)) for each in group]
                self._http.post("/v1/predict", files=files).raise_for_status()
            self._sent += len(chosen)
            self.looks.append(Look(stage, self._sent, *self._figures()))

    def _figures(self) -> tuple[float, float]:
        families = text_string_to_metric_families(self._http.get("/metrics").text)
        samples = [sample for family in families for sample in family.samples if sample.name == "ninefold_drift_psi"]
        found = {sample.labels["of"]: sample.value for sample in samples}
        return found.get("labels", float("nan")), found.get("confidence", float("nan"))


def blurred(photograph: Photograph) -> Photograph:
    """As through a dirty lens: a blur of a fiftieth of the longer side."""
    with Image.open(io.BytesIO(photograph.data)) as opened:
        picture = opened.convert("RGB")
    buffer = io.BytesIO()
    picture.filter(ImageFilter.GaussianBlur(max(picture.size) / 50)).save(buffer, "JPEG", quality=90)
    return Photograph(photograph.name, buffer.getvalue(), photograph.index)


def measure(url: str, photographs: Sequence[Photograph]) -> list[Look]:
    """All stages, one after the other."""
    dogs = [photograph for photograph in photographs if photograph.index in DOGS]
    stream = Stream(url)
    stream.send("mixed: the reference", photographs, REFERENCE_ANSWERS)
    stream.send("mixed", photographs, WINDOW_ANSWERS)
    stream.send(f"{len(dogs)} dogs alone", dogs, WINDOW_ANSWERS)
    stream.send("mixed", photographs, WINDOW_ANSWERS)
    stream.send("mixed, blurred", [blurred(photograph) for photograph in photographs], WINDOW_ANSWERS)
    stream.send("mixed", photographs, WINDOW_ANSWERS)
    return stream.looks


def show(looks: Sequence[Look]) -> Table:
    """A row a look that has figures."""
    table = Table("what came", "answers so far", "PSI of labels", "PSI of confidence")
    for look in looks:
        if not np.isnan(look.labels):
            table.add_row(look.stage, str(look.answers), _said(look.labels), _said(look.confidence))
    return table


def _said(figure: float) -> str:
    return f"{figure:.2f}{' alarm' if figure > ALARM else ''}"


def draw(path: Path, looks: Sequence[Look]) -> None:
    """The two figures over the answers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    answers = [look.answers for look in looks]
    axes.plot(answers, [look.labels for look in looks], marker=".", label="labels")
    axes.plot(answers, [look.confidence for look in looks], marker=".", label="confidence")
    axes.axhline(ALARM, color="#999999", linestyle=":", label="alarm")
    axes.set(xlabel="answers", ylabel="population stability index")
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    """Prints the figure as it goes, and draws it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--png", type=Path, default=Path("build/bench/drift.png"))
    options = parser.parse_args()
    with own_server(NINEFOLD_LOG_FORMAT="json") as (url, _):
        looks = measure(url, list(samples()))
    Console(width=110).print(show(looks))
    draw(options.png, looks)


if __name__ == "__main__":
    main()
