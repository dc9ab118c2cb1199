"""Measures: see the package.

One server at a time: each is started, warmed up, measured and ended in every round, so that no other takes memory or
cores from it; which is first rotates. What is ours / theirs is taken round by round. Before it is measured, a server's
answers are compared with torch's, asked all at once, where batches could mix up pictures; with random weights the best
classes are close to each other, so the probabilities are compared as well.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import torch
from rich.console import Console
from rich.table import Table

from bench import peers
from bench.client import PATIENCE, Plan, load
from bench.photographs import COUNT, Photograph, alike
from bench.servers import (
    MODEL,
    ROOT,
    artefact,
    measured,
    own_server,
    process,
    proportional_megabytes,
    resident_megabytes,
)
from bench.table import bars, options, ran_on, ratios, spread, turns
from contract.transform import TransformSpec, to_pixels
from inference.catalogue import BY_NAME
from inference.classifier import softmax
from inference.torch_classifier import TorchClassifier
from modelzoo.networks import build_network
from scripts.peers_venv import FOLDER, INTERPRETER, ensure_peers_venv
from tests.servers import free_port

OURS = "Ninefold"
HERE = Path(__file__).parent
COMPARED = 16
WARM_UP_SECONDS = 2.0


@dataclass(frozen=True)
class Peer:
    """How a server is started, and how it wants to be asked. `field`: of the multipart; "": the body is the picture."""

    command: tuple[str, ...]
    path: str = "/predict"
    field: str = "image"


PEERS = {
    "FastAPI + torch": Peer((str(INTERPRETER), str(HERE / "torch_fastapi.py"), "{folder}", "{port}")),
    "FastAPI + OpenVINO, our network": Peer(
        (str(INTERPRETER), str(HERE / "openvino_fastapi.py"), "{folder}", "{port}")
    ),
    "LitServe": Peer((str(INTERPRETER), str(HERE / "lit.py"), "{folder}", "{port}")),
    "mosec": Peer(
        (
            *(str(INTERPRETER), str(HERE / "mosec_server.py")),
            *("--timeout", "30000", "--max-request-size", "25000000"),
            *("--address", "127.0.0.1", "--port", "{port}"),
        ),
        path="/inference",
        field="",
    ),
    "BentoML": Peer(
        (
            *(str(FOLDER / "bin" / "bentoml"), "serve", "bento:Classifier", "--working-dir", str(HERE)),
            *("--host", "127.0.0.1", "--port", "{port}"),
        ),
        field="images",
    ),
}


@dataclass
class Figures:
    """Of one server, a figure a round; `same` of COMPARED answers were torch's at top-1, probabilities within `off`."""

    rate: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p95: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    shared_once: list[float] = field(default_factory=list)
    same: int = 0
    off: float = 0.0


Answer = dict[int, float]
"""Class index to probability, of the five best."""


def reference(photographs: list[Photograph]) -> list[list[float]]:
    """All probabilities of each photograph, by torch in float32."""
    classifier = TorchClassifier(build_network(BY_NAME[MODEL], None), TransformSpec())
    found = [softmax(classifier(to_pixels(photograph.data, TransformSpec())[None])[0]) for photograph in photographs]
    return [row.tolist() for row in found]


def write_folder(folder: Path, precision: str) -> None:
    """What the peers are given."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen = artefact(precision)
    torch.save(build_network(BY_NAME[MODEL], None).network.state_dict(), folder / "resnet18.pth")
    (folder / "labels.txt").write_text("\n".join(chosen.card.labels) + "\n", encoding="utf-8")
    for name in ("model.xml", "model.bin"):
        shutil.copyfile(chosen.folder / name, folder / name)


class Contest:
    """All servers on the same photographs."""

    def __init__(self, photographs: list[Photograph], precision: str, seconds: float) -> None:
        self._photographs = photographs
        self._precision = precision
        self._seconds = seconds
        self._folder = ROOT / "build" / "bench" / "peers"
        self._reference = reference(photographs[:COMPARED])
        write_folder(self._folder, precision)

    def measure(self, name: str, figures: Figures) -> None:
        """Starts it, checks its answers, warms it up, measures, ends it."""
        with self._running(name) as (url, kind, root):
            got = ask_all(url, kind, self._photographs[:COMPARED])
            figures.same, figures.off = agreement(got, self._reference)
            data = [photograph.data for photograph in self._photographs]
            load(Plan(url, min(WARM_UP_SECONDS, self._seconds), field=kind), data)
            report = load(Plan(url, self._seconds, field=kind), data)
            if set(report["counts"]) != {"200"}:
                raise SystemExit(f"bench: {name} did not answer everything: {report['counts']}")
            figures.rate.append(report["rate"])
            for share in ("p50", "p95", "p99"):
                getattr(figures, share).append(report["latency_ms"][share])
            figures.memory.append(resident_megabytes(root))
            figures.shared_once.append(proportional_megabytes(root))

    @contextmanager
    def _running(self, name: str) -> Iterator[tuple[str, str, psutil.Process]]:
        """The address to ask, the field to ask with, and the process."""
        if name == OURS:
            with own_server(**measured(self._precision)) as (url, root):
                yield f"{url}/v1/predict", "images", root
            return
        peer, port = PEERS[name], free_port()
        command = [word.format(folder=self._folder, port=port) for word in peer.command]
        url = f"http://127.0.0.1:{port}{peer.path}"
        environment = {"PEER_FOLDER": str(self._folder), "BENTOML_DO_NOT_TRACK": "true"}
        with process(command, environment, lambda: answers(url, peer.field, self._photographs[0])) as root:
            yield url, peer.field, root


def agreement(got: list[Answer], expected: list[list[float]]) -> tuple[int, float]:
    """How many have torch's top-1, and the largest difference of a probability from torch's for the same picture."""
    same, off = 0, 0.0
    for answer, row in zip(got, expected, strict=True):
        same += max(answer, key=lambda index: answer[index]) == row.index(max(row))
        off = max(off, *(abs(probability - row[index]) for index, probability in answer.items()))
    return same, off


def ask_all(url: str, kind: str, photographs: list[Photograph]) -> list[Answer]:
    """Their answers, all asked at once."""
    with ThreadPoolExecutor(len(photographs)) as pool:
        return list(pool.map(lambda photograph: ask(url, kind, photograph), photographs))


def ask(url: str, kind: str, photograph: Photograph) -> Answer:
    """One answer, whichever of the servers' shapes it has."""
    how: dict[str, Any] = (
        {"files": {kind: (photograph.name, photograph.data)}} if kind else {"content": photograph.data}
    )
    body = httpx.post(url, **how, trust_env=False, timeout=2 * PATIENCE).raise_for_status().json()
    rows = body if isinstance(body, list) else body.get("results", [body])
    return {line["index"]: line["probability"] for line in rows[0]["predictions"]}


def answers(url: str, kind: str, photograph: Photograph) -> bool:
    """Whether a real question gets a real answer: a health page may be earlier than that."""
    try:
        return bool(ask(url, kind, photograph))
    except httpx.HTTPError:
        time.sleep(0.2)
        return False


def show(found: dict[str, Figures], title: str) -> Table:
    """A row a server."""
    table = Table(
        *("", "req/s", "Ninefold / it", "p50, ms", "p95", "p99", "RSS, MB", "shared counted once"),
        *("torch's top-1", "probability off by"),
        title=title,
        caption=ran_on(),
    )
    for name, figures in found.items():
        whole = (figures.p50, figures.p95, figures.p99, figures.memory, figures.shared_once)
        table.add_row(
            name,
            spread(figures.rate),
            "" if name == OURS else spread(ratios(found[OURS].rate, figures.rate), 2),
            *(f"{statistics.median(each):.0f}" for each in whole),
            f"{figures.same}/{COMPARED}",
            f"{figures.off:.4f}",
        )
    return table


def main() -> None:
    """Prints one table, draws it."""
    parser = options(str(peers.__doc__), "peers", seconds=8)
    parser.add_argument("--only", nargs="+", choices=list(PEERS), default=list(PEERS), help="beside ours")
    given = parser.parse_args()
    rounds, seconds = (1, 1.0) if given.quick else (given.rounds, given.seconds)
    ensure_peers_venv()
    contest = Contest(alike(COUNT, given.megapixels), given.precision, seconds)
    names = [OURS, *given.only]
    found = {name: Figures() for name in names}
    for number in range(rounds):
        for name in turns(names, number):
            contest.measure(name, found[name])
    size = f"{given.megapixels:g} megapixels" if given.megapixels else "120 KB"
    title = f"ResNet-18 ({given.precision} in OpenVINO), photographs of {size}, 16 connections"
    Console(width=150).print(show(found, title))
    bars(given.png, title, "requests per second", {name: figures.rate for name, figures in found.items()})


if __name__ == "__main__":
    main()
