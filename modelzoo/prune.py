"""fp32 → pruned: half of the weights made zero while the network is fine-tuned, and the dense and the pruned compared.

weights ──> torch, pruned and fine-tuned (finetune.py) ──> OpenVINO, weights compressed ──> scores, sizes, time ──> card
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np

from contract.transform import Pixels, TransformSpec
from inference.artefacts import Artefact, ArtefactStore, Variant, sha256_of
from inference.card import Agreement, FileEntry
from inference.catalogue import Model
from inference.choice import ModelMissing
from inference.classifier import Logits, golden_pixels, softmax
from inference.ir import compress_weights
from inference.labelled import BadData
from inference.openvino_classifier import OpenVinoClassifier
from inference.pruning import Pruning, Score
from inference.shares import share_of
from inference.torch_classifier import Normalised
from modelzoo.build import Say
from modelzoo.convert import write_ir
from modelzoo.derived import fp32_of, golden_of
from modelzoo.finetune import Checkpoint, FineTuning, Progress, Settings, Stopped, digest_of, layers_of
from modelzoo.material import Classes, Material, Pictures, faults, to_judge
from modelzoo.networks import build_network
from modelzoo.weights import Weights, obtain

KEPT = ".pruning"
JUDGED = 1000
"""On how many of the training pictures, and on how many crops where there are no labels, the two are compared."""

_ROUNDS = 40
_NAMED = 5


@dataclass(frozen=True)
class Watch:
    """Who is told of a run, and who may end it."""

    say: Say = lambda _: None
    report: Callable[[Progress], None] = lambda _: None
    stop: Callable[[], bool] = lambda: False


def prune(
    model: Model, store: ArtefactStore, material: Material, settings: Settings, *, local: Path | None = None,
    watch: Watch | None = None, judged: int = JUDGED,
) -> Artefact:  # fmt: skip
    """Prunes, fine-tunes, measures and publishes; goes on where an interrupted run with the same settings stopped.

    `local`: a file of the very weights. Raises ModelMissing, WeightsMissing, WrongWeights, NoPhotographs, BadData,
    Stopped, WrongAnswer, OSError.
    """
    watch = watch or Watch()
    source = fp32_of(store, model)
    weights = obtain(model, local, store.root / ".downloads")
    _check_same(source, weights)
    kept = Checkpoint(store.root / KEPT / model.name, source.card.origin.sha256, material, settings)
    _refuse_faults(material, model.transform, watch)
    watch.say(f"Pruning to {settings.sparsity:.0%} zeros in {settings.steps} steps, on {material.source} …")
    pruned = _pruned(model, weights, material, settings, kept, watch)
    watch.say("Comparing it with fp32 …")
    artefact = store.publish(
        Variant(model.name, "pruned"),
        lambda folder: _write(folder, source, pruned, material, settings, judged, stop=watch.stop),
    )
    kept.sweep()
    return artefact


def _check_same(source: Artefact, weights: Weights | None) -> None:
    if weights is not None and weights.sha256 != source.card.origin.sha256:
        raise ModelMissing(
            f"{source.variant} was made of other weights than {weights.path}. "
            f"The command `{source.remake}` makes it anew."
        )


def _refuse_faults(material: Material, spec: TransformSpec, watch: Watch) -> None:
    """Looks at every picture now, for one that cannot be read would else end the run at its turn."""
    watch.say("Looking at the pictures …")
    found = []
    for fault in faults(material, spec):
        if watch.stop():
            raise Stopped("stopped before the first step")
        found += [fault] if fault else []
    if found:
        more = f" Likewise {len(found) - _NAMED} more." if len(found) > _NAMED else ""
        raise BadData(" ".join(found[:_NAMED]) + more)


def _pruned(
    model: Model, weights: Weights | None, material: Material, settings: Settings, kept: Checkpoint, watch: Watch
) -> Normalised:
    """The network with its zeros, without masks."""
    dense, student = (build_network(model, weights) for _ in range(2))
    run = FineTuning(dense, student, model.transform, settings)
    if (state := kept.load()) is not None:
        run.go_on(state)
        watch.say(f"Going on after step {run.step}, where an earlier run was stopped.")
    run.run(material, model.transform, kept, watch.report, watch.stop)
    dense.load_state_dict(run.weights())
    return dense


def _write(
    folder: Path, source: Artefact, pruned: Normalised, material: Material, settings: Settings, judged: int, *,
    stop: Callable[[], bool],
) -> None:  # fmt: skip
    write_ir(pruned, source.card.transform.crop, folder)
    loaded = compress_weights(folder)
    (folder / source.card.golden.image).write_bytes(source.golden_image)
    card = replace(
        source.card,
        precision="pruned",
        files={path.name: FileEntry(path.stat().st_size, sha256_of(path)) for path in sorted(folder.iterdir())},
        versions=source.card.versions | {"nncf": version("nncf"), "openvino": version("openvino")},
        built_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    artefact = Artefact(folder, card)
    both = OpenVinoClassifier(source), OpenVinoClassifier(artefact)
    golden = golden_of(artefact, both[1](golden_pixels(artefact))[0])
    train = _compared(both, material.train, card.transform, judged, stop)
    held = _compared(both, material.validation, card.transform, max(judged, len(material.validation.files)), stop)
    layers = layers_of(pruned.state_dict())
    pruning = Pruning(
        sparsity=sum(layer.zeros for layer in layers) / sum(layer.weights for layer in layers),
        data=material.source,
        settings=asdict(settings),
        scores=(train.score("train"), held.score("validation")),
        dense_bytes=source.card.size_on("CPU"),
        dense_zipped_bytes=source.zipped_bytes("CPU"),
        zipped_bytes=artefact.zipped_bytes("CPU"),
        loaded_bytes=loaded,
        time_ratio=_time_ratio(source, artefact),
        layers=layers,
        digest=digest_of(source.card.origin.sha256, settings, material.train, material.validation),
    )
    replace(card, golden=golden, agreement=held.agreement(), pruning=pruning).write(folder)


@dataclass
class _Compared:
    """What two classifiers said of the same pictures."""

    images: int = 0
    labelled: bool = False
    right: tuple[int, int] = (0, 0)
    same: int = 0
    logit_difference: float = 0.0
    probability_difference: float = 0.0

    def add(self, dense: Logits, pruned: Logits, classes: Classes) -> None:
        """Counts some pictures, float32[N,C] each."""
        said = dense.argmax(axis=1), pruned.argmax(axis=1)
        self.images += len(dense)
        self.same += int((said[0] == said[1]).sum())
        if len(classes):
            self.labelled = True
            before, after = (int((one == classes).sum()) for one in said)
            self.right = (self.right[0] + before, self.right[1] + after)
        # np.max keeps NaN, which max() may drop
        self.logit_difference = float(np.max([self.logit_difference, np.abs(dense - pruned).max()]))
        difference = np.abs(softmax(dense) - softmax(pruned)).max()
        self.probability_difference = float(np.max([self.probability_difference, difference]))

    def score(self, part: str) -> Score:
        """For the card."""
        dense, pruned = (share_of(count, self.images) if self.labelled else None for count in self.right)
        return Score(part, self.images, dense, pruned, share_of(self.same, self.images))

    def agreement(self) -> Agreement:
        """As every other precision's card has it."""
        return Agreement(
            reference="OpenVINO, fp32",
            images=self.images,
            top1=self.same / self.images,
            max_logit_difference=self.logit_difference,
            max_probability_difference=self.probability_difference,
        )


def _compared(
    both: tuple[OpenVinoClassifier, OpenVinoClassifier], pictures: Pictures, spec: TransformSpec, most: int,
    stop: Callable[[], bool],
) -> _Compared:  # fmt: skip
    compared = _Compared()
    with ThreadPoolExecutor() as pool:  # a call uses one of the streams
        for pixels, classes in to_judge(pictures, spec, most):
            if stop():
                raise Stopped("stopped while the two were compared")
            images = np.array_split(pixels, len(pixels))
            dense, pruned = (np.concatenate(list(pool.map(one, images))) for one in both)
            compared.add(dense, pruned, classes)
    return compared


def _time_ratio(source: Artefact, artefact: Artefact) -> float:
    """Time per image, pruned over dense: the median of rounds in which each of them answers once, on one thread."""
    both = OpenVinoClassifier(artefact, threads=1), OpenVinoClassifier(source, threads=1)
    image, ratios = golden_pixels(source), []
    for _ in range(_ROUNDS):
        pruned, dense = (_seconds(one, image) for one in both)
        ratios.append(pruned / dense)
    return median(ratios)


def _seconds(classifier: OpenVinoClassifier, pixels: Pixels) -> float:
    started = time.perf_counter()
    classifier(pixels)
    return time.perf_counter() - started
