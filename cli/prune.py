"""`ninefold models prune`: a model with many of its weights made zero, and what that costs, as a table."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from cli.console import err, fail, out
from cli.options import DEFAULT_DIR, ModelsDir
from inference.artefacts import Artefact, ArtefactStore, DamagedArtefact, Variant
from inference.card import BadCard
from inference.catalogue import BY_NAME, Model
from inference.choice import ModelMissing, ModelUnknown, choose, made_of, resolve
from inference.classifier import WrongAnswer
from inference.labelled import BadData
from inference.pruning import Score
from inference.shares import Share

if TYPE_CHECKING:
    from modelzoo.finetune import Progress as Step
    from modelzoo.finetune import Settings
    from modelzoo.material import Material

LINES = 20
"""How often a log is told how far a run is."""


def prune(  # noqa: PLR0913, PLR0917  # one for each word of the command
    name: Annotated[
        str | None,
        typer.Argument(
            envvar="NINEFOLD_MODEL", help="Which model, built before. Without one: the one that answers by default."
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Labelled pictures: a folder per class, ImageNet's layout, or a CSV file,index.")
    ] = None,
    validation: Annotated[Path | None, typer.Option(help="Others like --data, to judge by.")] = None,
    held_out: Annotated[
        float, typer.Option(min=0.01, max=0.9, help="Without --validation: the share of --data to judge by.")
    ] = 0.1,
    pictures: Annotated[
        Path | None,
        typer.Option(
            help="Pictures without labels, like those that will be asked; one of four judges. Without --data and "
            "--pictures: photographs that come with scikit-image and scikit-learn."
        ),
    ] = None,
    sparsity: Annotated[
        float, typer.Option(min=0.01, max=0.99, help="The share of zeros among all weights that can be pruned.")
    ] = 0.5,
    steps: Annotated[int | None, typer.Option(min=1, help="How many batches; 300 without --epochs.")] = None,
    epochs: Annotated[float | None, typer.Option(min=0.01, help="The same in turns through the pictures.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Pictures a step.")] = 16,
    learning_rate: Annotated[float, typer.Option(min=1e-8, max=1, help="Adam's, at the start; it falls to 0.")] = 5e-5,
    distillation: Annotated[
        float,
        typer.Option(min=0, max=1, help="With --data: how much of the loss is fp32's answer and not the label."),
    ] = 0.5,
    seed: Annotated[int, typer.Option(min=0, help="Decides the order of the pictures and their crops.")] = 0,
    weights: Annotated[Path | None, typer.Option(help="A local file of the very weights, as for `build`.")] = None,
    force: Annotated[bool, typer.Option(help="Make it again even if it is there, pruned just so.")] = False,
    models_dir: ModelsDir = DEFAULT_DIR,
) -> None:
    """Make the pruned variant of a model: more and more weights become zero while the others are fine-tuned.

    Ctrl-C keeps what is done; the same command goes on from there.
    """
    _refuse_both(data, validation, pictures, steps, epochs)
    store = ArtefactStore(models_dir)
    model = _model(store, name)
    err.print("Loading torch and NNCF …")
    from modelzoo.finetune import Settings  # noqa: PLC0415  # torch takes seconds
    from modelzoo.prune import Watch  # noqa: PLC0415
    from modelzoo.prune import prune as prune_model  # noqa: PLC0415

    with _explained(store, model):
        material = _material(store, model, data, validation, held_out, pictures)
        count = steps or (math.ceil(epochs * len(material.train.files) / batch) if epochs else 300)
        teacher = distillation if material.is_labelled else 1.0
        settings = Settings(sparsity, count, batch, learning_rate, teacher, seed)
        if not force and _is_there(store, model, settings, material):
            err.print(f"{model.name} pruned is there.")
            return
        with _told(count) as report, _asked_to_stop() as stop:
            watch = Watch(lambda text: err.print(text, markup=False, soft_wrap=True), report, stop)
            artefact = prune_model(model, store, material, settings, local=weights, watch=watch)
        _show(artefact)


@contextmanager
def _explained(store: ArtefactStore, model: Model) -> Iterator[None]:
    """Ends the command with one sentence for whatever can go wrong."""
    from modelzoo.finetune import Stopped  # noqa: PLC0415
    from modelzoo.photographs import NoPhotographs  # noqa: PLC0415
    from modelzoo.weights import WeightsMissing, WrongWeights  # noqa: PLC0415

    try:
        yield
    except Stopped as stopped:
        fail(f"{stopped}. The same command goes on from there", code=130)
    except (WeightsMissing, WrongWeights) as error:
        fail(f"{model.name} was not pruned: {str(error).rstrip('.')}. If you have the file: --weights FILE", code=1)
    except (NoPhotographs, BadData, BadCard, ModelMissing, DamagedArtefact, WrongAnswer) as error:
        fail(f"{model.name} was not pruned: {error}", code=1)
    except OSError as error:
        fail(
            f"the artefact cannot be written to {store.root}: {error.strerror or error}. "
            "Free some space, or name another --models-dir",
            code=1,
        )


def _refuse_both(
    data: Path | None, validation: Path | None, pictures: Path | None, steps: int | None, epochs: float | None
) -> None:
    if data and pictures:
        fail("--data has labels and --pictures has none: name one of them")
    if validation and not data:
        fail("--validation is for --data: of pictures without labels one of four is held out by itself")
    if steps and epochs:
        fail("--steps and --epochs say the same: name one of them")


def _model(store: ArtefactStore, name: str | None) -> Model:
    try:
        return BY_NAME[resolve(store, name, "fp32").model if name else choose(store).variant.model]
    except (ModelMissing, ModelUnknown) as error:
        fail(str(error), code=1)


def _is_there(store: ArtefactStore, model: Model, settings: Settings, material: Material) -> bool:
    """Pruned in the same way on the same pictures, of the weights that fp32 has now, and whole."""
    from modelzoo.finetune import digest_of  # noqa: PLC0415

    try:
        artefact, fp32 = (store.get(Variant(model.name, precision)) for precision in ("pruned", "fp32"))
        if artefact is None or fp32 is None or not made_of(artefact, fp32) or artefact.card.pruning is None:
            return False
        artefact.verify()
    except (BadCard, DamagedArtefact):
        return False
    wanted = digest_of(fp32.card.origin.sha256, settings, material.train, material.validation)
    return artefact.card.pruning.digest == wanted


def _material(
    store: ArtefactStore, model: Model, data: Path | None, validation: Path | None, held_out: float,
    pictures: Path | None,
) -> Material:  # fmt: skip
    """The pictures that were named. Raises BadData, NoPhotographs, ModelMissing, BadCard."""
    from modelzoo.derived import fp32_of  # noqa: PLC0415
    from modelzoo.material import labelled, unlabelled  # noqa: PLC0415
    from modelzoo.photographs import bundled, from_folder  # noqa: PLC0415

    if data is None:
        return unlabelled(from_folder(pictures) if pictures else bundled())
    return labelled(data, validation, held_out, fp32_of(store, model).card.labels)


@contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C or SIGTERM came; the second Ctrl-C ends the command at once."""
    asked = False

    def note(_signal: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        err.print("Stopping after this step …")

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _told(steps: int) -> Iterator[Callable[[Step], None]]:
    """A bar on a terminal, a line now and then in a log: the step, the loss, the sparsity."""

    def words(now: Step) -> str:
        return f"loss {now.loss:.4f}, {now.sparsity:.1%} zeros"

    if not err.is_terminal:
        every = math.ceil(steps / LINES)
        yield (
            lambda now: (
                err.print(f"step {now.step} of {steps}: {words(now)}")
                if now.step % every == 0 or now.step == steps
                else None
            )
        )
        return
    columns = TextColumn("pruning"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, TextColumn("{task.fields[words]}"), console=err) as bar:
        task = bar.add_task("", total=steps, words="")
        yield lambda now: bar.update(task, completed=now.step, words=words(now))


def _show(artefact: Artefact) -> None:
    """The table, dense and pruned side by side; the layers are on the card."""
    pruning = artefact.card.pruning
    if pruning is None:
        return
    table = Table("", "dense", "pruned", box=None, pad_edge=False, title=f"{artefact.card.title}: {pruning.data}")
    for score in pruning.scores:
        _add_score(table, score)
    table.add_row("zeros among the prunable weights", "", f"{pruning.sparsity:.1%}")
    table.add_row("size, MB", f"{pruning.dense_bytes / 1e6:.2f}", f"{artefact.card.size_bytes / 1e6:.2f}")
    table.add_row("zipped, MB", f"{pruning.dense_zipped_bytes / 1e6:.2f}", f"{pruning.zipped_bytes / 1e6:.2f}")
    table.add_row("time per image", "1", f"{pruning.time_ratio:.2f}")
    out.print(table)
    err.print(f"It is {artefact.folder}; the zeros of each layer are in its card.json.", soft_wrap=True)
    if any(score.dense is None for score in pruning.scores):
        err.print("Without labels only agreement is known; `ninefold evaluate` gives top-1 on labelled pictures.")


def _add_score(table: Table, score: Score) -> None:
    if score.dense is not None and score.pruned is not None:
        table.add_row(f"top-1, {score.part}, {score.images} images", _interval(score.dense), _interval(score.pruned))
    table.add_row(f"top-1 of dense, {score.part}, {score.images} images", "", _interval(score.agreement))


def _interval(share: Share) -> str:
    return f"{share.share:.1%} ({share.low:.1%} to {share.high:.1%})"
