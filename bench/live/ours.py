"""Our side: what the server does to a frame, in this process and over its WebSocket."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import psutil
from websockets.asyncio.client import connect

from bench.live.frames import MARGIN, MOST_CROPS
from bench.live.timing import Measured
from contract.transform import Pixels, TransformSpec, crop_pixels, decode_rgb, rgb_to_pixels, to_pixels
from inference.artefacts import Artefact
from inference.classifier import Classifier
from inference.filters import Filter

Answer = npt.NDArray[np.float32]


def classify(artefact: Artefact, network: Classifier, denoise: Filter | None) -> Callable[[bytes], Answer]:
    """A frame's bytes to float32[1,C]."""
    return lambda data: network(_pixels(data, artefact.card.transform, denoise)[None])


def detect(artefact: Artefact, network: Classifier, denoise: Filter | None) -> Callable[[bytes], Answer]:
    """A frame's bytes to float32[1,Q,6]."""
    return lambda data: network(rgb_to_pixels(_decoded(data, denoise), artefact.card.transform)[None])


def detect_and_classify(
    boxes: tuple[Artefact, Classifier], classes: tuple[Artefact, Classifier], denoise: Filter | None
) -> Callable[[bytes], Answer]:
    """A frame's bytes to the logits of the surest boxes, float32[N,C]."""

    def look(data: bytes) -> Answer:
        rgb = _decoded(data, denoise)
        found = boxes[1](rgb_to_pixels(rgb, boxes[0].card.transform)[None])[0, :MOST_CROPS, :4]
        return classes[1](crop_pixels(rgb, found, MARGIN, classes[0].card.transform))

    return look


def _pixels(data: bytes, spec: TransformSpec, denoise: Filter | None) -> Pixels:
    return to_pixels(data, spec) if denoise is None else rgb_to_pixels(_decoded(data, denoise), spec)


def _decoded(data: bytes, denoise: Filter | None) -> Pixels:
    rgb = decode_rgb(data)
    return denoise(rgb) if denoise else rgb


@dataclass(frozen=True)
class Server:
    """One that runs, and what it is asked."""

    url: str
    process: psutil.Process
    query: str

    @property
    def address(self) -> str:
        """Of its WebSocket."""
        return f"ws{self.url.removeprefix('http')}/v1/live?{self.query}"

    def processor(self) -> float:
        """Seconds of the processors that it has taken."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


def over_websockets(server: Server, frames: Sequence[bytes], sessions: int, seconds: float) -> Measured:
    """Each session sends its next frame when the last is answered."""
    return asyncio.run(_sessions(server, frames, sessions, seconds))


async def _sessions(server: Server, frames: Sequence[bytes], sessions: int, seconds: float) -> Measured:
    begun, before = time.perf_counter(), server.processor()
    asking = (_session(server.address, frames, number, begun + seconds) for number in range(sessions))
    latencies = [each for part in await asyncio.gather(*asking) for each in part]
    taken = server.processor() - before
    return Measured(len(latencies) / (time.perf_counter() - begun), latencies, taken)


async def _session(address: str, frames: Sequence[bytes], first: int, end: float) -> list[float]:
    latencies = []
    async with connect(address, compression=None) as socket:
        number = first
        while (sent := time.perf_counter()) < end or not latencies:
            await socket.send(frames[number % len(frames)])
            answer = json.loads(await socket.recv())
            if "error" in answer or answer["dropped"]:
                raise RuntimeError(f"a frame was not answered: {answer}")
            latencies.append(time.perf_counter() - sent)
            number += 1
    return latencies


def first_answers(server: Server, frames: Sequence[bytes]) -> list[int]:
    """The index that the server gives each frame first."""

    async def ask() -> list[int]:
        found = []
        async with connect(server.address, compression=None) as socket:
            for frame in frames:
                await socket.send(frame)
                found.append(int(json.loads(await socket.recv())["labels"][0]["index"]))
        return found

    return asyncio.run(ask())
