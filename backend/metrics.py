"""What the server counts, for Prometheus. Every name begins with `ninefold_`; units are in the names."""

from __future__ import annotations

from collections import Counter as Count
from collections.abc import Callable, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from backend.answers import Answers
from backend.drift import References
from contract.batches import State
from contract.shards import Counts
from inference.scheduler import Inference, Priority, Scheduler

_LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_BATCH = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """One registry a server, so that several servers can live in one test process.

    `drift_reference`: the file of what the answers are compared with; without it the first ones since the start are it.
    """

    def __init__(self, drift_reference: Path | None = None) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.requests = Counter(
            "ninefold_http_requests", "Answered requests.", ["method", "route", "status"], registry=self.registry
        )
        self.request_seconds = Histogram(
            "ninefold_http_request_seconds",
            "From first byte to answer.",
            ["route"],
            buckets=_LATENCY,
            registry=self.registry,
        )
        self.images = Counter(
            "ninefold_images", "Images by outcome: ok, or the error's code.", ["outcome"], registry=self.registry
        )
        self.decode_seconds = Histogram(
            "ninefold_decode_seconds", "Bytes to pixels, one image.", buckets=_LATENCY, registry=self.registry
        )
        self.queue_seconds = Histogram(
            "ninefold_queue_seconds",
            "From an interactive image's arrival to the thread that decodes it.",
            buckets=_LATENCY,
            registry=self.registry,
        )
        self.inference_seconds = Histogram(
            "ninefold_inference_seconds",
            "One call of a classifier.",
            ["model", "precision"],
            buckets=_LATENCY,
            registry=self.registry,
        )
        self.batch_images = Histogram(
            "ninefold_batch_images",
            "Images in one call of a classifier.",
            ["model", "precision"],
            buckets=_BATCH,
            registry=self.registry,
        )
        self.entries = Counter(
            "ninefold_batch_entries",
            "Entries of zips by outcome: ok, error, skipped.",
            ["outcome"],
            registry=self.registry,
        )
        self.batch_predictions = Counter(
            "ninefold_batch_predictions",
            "Predictions of batches that ended here: done, failed, or stopped, which another server goes on with.",
            ["outcome"],
            registry=self.registry,
        )
        # 0 is a figure too: from nothing to 1 is no increase.
        for outcome in ("done", "failed", "stopped"):
            self.batch_predictions.labels(outcome)
        for outcome in ("ok", "error", "skipped"):
            self.entries.labels(outcome)
        self.live_sessions = Gauge("ninefold_live_sessions", "Live connections that are open.", registry=self.registry)
        self.live_frames = Counter(
            "ninefold_live_frames",
            "Frames by outcome: ok, the error's code, or dropped for a newer one or at the end.",
            ["outcome"],
            registry=self.registry,
        )
        self.live_frame_seconds = Histogram(
            "ninefold_live_frame_seconds",
            "From a frame's arrival to its answer, which has been sent.",
            buckets=_LATENCY,
            registry=self.registry,
        )
        self.live_ended = Counter(
            "ninefold_live_ended", "Live connections that ended, by why.", ["why"], registry=self.registry
        )
        for outcome in ("ok", "dropped"):
            self.live_frames.labels(outcome)
        self.answers = Answers(References(drift_reference))
        self.registry.register(self.answers)
        self.ready = Gauge(
            "ninefold_ready", "1 while the model answers as expected, and all threads live.", registry=self.registry
        )

    def built(self, version: str, revision: str) -> None:
        """Says which program this is."""
        Info("ninefold_build", "What runs.", registry=self.registry).info({"version": version, "revision": revision})

    def watch(self, scheduler: Scheduler) -> None:
        """Reports the scheduler's queue at every scrape."""
        self.registry.register(_Queue(scheduler))

    def watch_batches(self, states: Callable[[], Mapping[str, str]]) -> None:
        """Reports at every scrape how many batches are in each state; `states` has each batch's."""
        self.registry.register(_Batches(states))

    def record_rows(self, counts: Counts) -> None:
        """Counts the rows of one predicted shard."""
        for outcome, count in (("ok", counts.images), ("error", counts.errors), ("skipped", counts.skipped)):
            self.entries.labels(outcome).inc(count)

    def record_frame(self, outcome: str, seconds: float) -> None:
        """Counts one frame of a live connection; `seconds` since it arrived."""
        self.live_frames.labels(outcome).inc()
        if outcome != "dropped":
            self.live_frame_seconds.observe(seconds)

    def record_inference(self, inference: Inference) -> None:
        """Counts one call of a classifier."""
        labels = (inference.variant.model, inference.variant.precision)
        self.inference_seconds.labels(*labels).observe(inference.seconds)
        self.batch_images.labels(*labels).observe(inference.images)


class _Queue(Collector):
    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def collect(self) -> list[Metric]:
        waiting = GaugeMetricFamily(
            "ninefold_waiting_images", "Images accepted and not yet answered.", labels=["priority"]
        )
        for priority in Priority:
            waiting.add_metric([priority.name.lower()], self._scheduler.waiting(priority))
        loaded = GaugeMetricFamily("ninefold_loaded_variants", "Models in memory.", value=len(self._scheduler.loaded))
        return [waiting, loaded]


class _Batches(Collector):
    def __init__(self, states: Callable[[], Mapping[str, str]]) -> None:
        self._states = states

    def collect(self) -> list[Metric]:
        batches = GaugeMetricFamily("ninefold_batches", "Batches in the bucket by state.", labels=["state"])
        counted = Count(self._states().values())
        for state in (*State, "refused"):
            batches.add_metric([state], counted[state])
        return [batches]
