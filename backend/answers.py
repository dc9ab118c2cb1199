"""What was answered, for Prometheus: labels by kind, confidence, and whether they drift.

Counted in plain numbers and made into metrics at a scrape: an answer must cost next to nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from backend.drift import CONFIDENCE_BOUNDS, LABEL_BINS, BinPair, Bins, Drift, References, bins_of
from inference.artefacts import Variant
from inference.classifier import Prediction

__all__ = ["Answers"]

_INTERACTIVE, _BATCH = "interactive", "batch"
_EDGES = [*map(str, CONFIDENCE_BOUNDS[:-1]), "+Inf"]


@dataclass
class _Counted:
    """Answers of one variant and kind: by bin, and the sum of their probabilities."""

    bins: Bins = field(default_factory=Bins)
    confidence: float = 0.0

    def add(self, index: int, probability: float) -> BinPair:
        """Counts a top-1, and says where."""
        where = bins_of(index, probability)
        self.bins.add(where)
        self.confidence += probability
        return where


class Answers(Collector):
    """Of one server; to be used in its event loop. Only what people ask for drifts: a zip of one kind is no alarm."""

    def __init__(self, references: References) -> None:
        self._references = references
        self._counted: dict[tuple[Variant, str], _Counted] = {}
        self._drifts: dict[Variant, Drift] = {}

    def note(self, variant: Variant, answer: Prediction) -> None:
        """Counts the top-1 of a picture that somebody waits for."""
        drift = self._drifts.get(variant) or self._begin(variant)
        where = self._counted[variant, _INTERACTIVE].add(answer.index, answer.probability)
        if drift.add(where):
            self._references.keep(str(variant), drift.reference)

    def note_rows(self, variant: Variant, answers: Iterable[tuple[int, float]]) -> None:
        """Counts the top-1 of a batch's pictures: index and probability of each."""
        counted = self._counted.setdefault((variant, _BATCH), _Counted())
        for index, probability in answers:
            counted.add(index, probability)

    def collect(self) -> list[Metric]:
        """The metrics, at a scrape."""
        return [*self._distributions(), *self._drift_figures()]

    def _begin(self, variant: Variant) -> Drift:
        self._counted[variant, _INTERACTIVE] = _Counted()
        drift = self._drifts[variant] = Drift(self._references.of(str(variant)))
        return drift

    def _distributions(self) -> list[Metric]:
        names = ["model", "precision", "kind"]
        # By fifty: a thousand series for each variant and kind would be read by nobody and paid for by all.
        labels = CounterMetricFamily("ninefold_answers", "Answers by the top-1's index.", labels=[*names, "labels"])
        confidence = HistogramMetricFamily(
            "ninefold_answer_confidence", "The top-1's probability, one image.", labels=names
        )
        for (variant, kind), counted in self._counted.items():
            which = [variant.model, variant.precision, kind]
            for name, count in zip(LABEL_BINS, counted.bins.labels, strict=True):
                labels.add_metric([*which, name], count)
            buckets = list(zip(_EDGES, accumulate(counted.bins.confidence), strict=True))
            confidence.add_metric(which, buckets, counted.confidence)
        return [labels, confidence]

    def _drift_figures(self) -> list[Metric]:
        names = ["model", "precision", "of"]
        index = GaugeMetricFamily(
            "ninefold_drift_psi", "Population stability index of the last answers against the reference.", labels=names
        )
        answers = GaugeMetricFamily("ninefold_drift_answers", "Answers in the window and the reference.", labels=names)
        for variant, drift in self._drifts.items():
            which = [variant.model, variant.precision]
            for of, figure in drift.figures().items():
                index.add_metric([*which, of], figure)
            answers.add_metric([*which, "window"], drift.window.answers)
            answers.add_metric([*which, "reference"], drift.reference.answers)
        return [index, answers]
