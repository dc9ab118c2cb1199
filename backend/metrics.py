"""What the server counts, for Prometheus. Every name begins with `ninefold_`; units are in the names."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from contract.shards import Counts
from inference.scheduler import Inference, Priority, Scheduler

_LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_BATCH = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """One registry a server, so that several servers can live in one test process."""

    def __init__(self) -> None:
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
        self.ready = Gauge("ninefold_ready", "1 once the golden image got its expected answer.", registry=self.registry)

    def watch(self, scheduler: Scheduler) -> None:
        """Reports the scheduler's queue at every scrape."""
        self.registry.register(_Queue(scheduler))

    def record_rows(self, counts: Counts) -> None:
        """Counts the rows of one predicted shard."""
        for outcome, count in (("ok", counts.images), ("error", counts.errors), ("skipped", counts.skipped)):
            self.entries.labels(outcome).inc(count)

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
