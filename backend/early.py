"""The default variant, loaded while the rest of the server is still being imported: two cores, two tasks."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from inference import engines
from inference.artefacts import Artefact, Variant
from inference.classifier import Classifier


class EarlyLoad:
    """One classifier that is being loaded; whoever wants it first, has it."""

    def __init__(self, artefact: Artefact, threads: int, device: str = "CPU") -> None:
        self._artefact = artefact
        pool = ThreadPoolExecutor(1, thread_name_prefix="early")
        self._classifier: Future[Classifier] | None = pool.submit(
            engines.load, artefact, threads=threads, device=device
        )
        pool.shutdown(wait=False)

    def take(self, variant: Variant) -> tuple[Artefact, Classifier] | None:
        """The classifier, once; None for another variant. Blocks until it is loaded; raises what loading raised."""
        loading = self._classifier
        if loading is None or variant != self._artefact.variant:
            return None
        self._classifier = None
        return self._artefact, loading.result()
