"""The command's words, what they mean together, and its exit code."""

from __future__ import annotations

import signal
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.console import err, fail, out, printable
from cli.options import DEFAULT_DIR, Device, ModelsDir
from inference.artefacts import ArtefactStore
from inference.choice import ModelUnknown
from inference.devices import cpu_count
from inference.labelled import BadData

if TYPE_CHECKING:
    from cli.evaluate.choosing import Chosen
    from cli.evaluate.figures import Figures

HELP = (
    "Compare variants on pictures whose classes are known: top-1, top-5, agreement with fp32, time, size.\n\n"
    "DATA is a folder per class (named by WordNet id, class index or label), ImageNet's validation pictures, or a CSV "
    "with the columns file,index or file,label (or a folder with such a labels.csv).\n\n"
    "Writes evaluation.json, .md, .csv and .png. What was answered is kept beside them: stopped at any time, the same "
    "command goes on. A picture that cannot be decoded counts as an error.\n\n"
    "Exit code 1: one or more pictures could not be answered, or the files not be written; 2: nothing was measured; "
    "130: stopped."
)


@dataclass(frozen=True)
class _Asked:
    data: Path
    models: str
    precisions: str | None
    limit: int | None
    seed: int
    output: Path
    restart: bool
    device: str


def evaluate(  # noqa: PLR0913, PLR0917  # one for each word of the command
    data: Annotated[Path, typer.Option(help="The pictures and their classes.")],
    models: Annotated[str, typer.Option(help="all, or NAME or NAME:PRECISION, with commas between several.")] = "all",
    precisions: Annotated[str | None, typer.Option(help="Only these, with commas between them.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="So many of the pictures, drawn at random.")] = None,
    seed: Annotated[int, typer.Option(help="Which draw; the same draws the same pictures.")] = 0,
    output: Annotated[Path | None, typer.Option(help="Where the files go. Without it: the models' folder.")] = None,
    resume: Annotated[bool, typer.Option("--resume/--restart", help="Use the answers kept, or ask all anew.")] = True,
    device: Device = "CPU",
    models_dir: ModelsDir = DEFAULT_DIR,
) -> None:
    """See HELP."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    asked = _Asked(data, models, precisions, limit, seed, output or models_dir, not resume, device)
    try:
        figures = _evaluate(asked, _chosen(ArtefactStore(models_dir), asked))
    except (BadData, ModelUnknown) as error:
        fail(printable(str(error)))
    except sqlite3.Error as error:
        fail(_unusable(asked.output, error))
    except OSError as error:
        fail(_unwritable(asked.output, error))
    except KeyboardInterrupt:
        err.print("ninefold: stopped; the same command goes on from here", style="red", markup=False)
        raise typer.Exit(130) from None
    if any(variant["errors"] for variant in figures["variants"]):
        raise typer.Exit(1)


def _chosen(store: ArtefactStore, asked: _Asked) -> Chosen:
    from cli.evaluate.choosing import chosen  # noqa: PLC0415

    found = chosen(store, asked.models, asked.precisions)
    if not found.artefacts:
        raise _nothing(found)
    return found


def _nothing(found: Chosen) -> ModelUnknown:
    reasons = "; ".join(f"{each.model}: {each.reason.rstrip('.')}" for each in found.missing)
    return ModelUnknown(f"There is nothing to compare. {reasons}")


def _evaluate(asked: _Asked, chosen: Chosen) -> Figures:
    with err.status("Looking at the data …"):
        from cli.evaluate import report  # noqa: PLC0415  # `ninefold --help` need not wait for these
        from cli.evaluate.kept import forget  # noqa: PLC0415
        from cli.evaluate.progress import telling  # noqa: PLC0415
        from cli.evaluate.run import Evaluation, read_data  # noqa: PLC0415
        from inference.engines import why_not  # noqa: PLC0415

        if why := why_not(asked.device):
            raise BadData(f"--device {asked.device}: {why}.")
        data = read_data(asked.data, _labels(chosen), asked.limit, asked.seed)
        asked.output.mkdir(parents=True, exist_ok=True)
        if asked.restart:
            forget(asked.output)
        evaluation = Evaluation(data, chosen, asked.output, cpu_count(), asked.device)
    with telling() as begin:
        figures = evaluation.run(begin)
    if not figures["variants"]:
        raise _nothing(chosen)
    out.print(report.table(figures))
    for note in report.notes(figures):
        out.print(printable(note), markup=False, highlight=False, soft_wrap=True)
    try:
        written = report.write(figures, asked.output)
    except OSError as error:
        fail(_unwritable(asked.output, error), code=1)
    err.print(printable(f"Written: {', '.join(map(str, written))}"), markup=False, soft_wrap=True)
    return figures


def _labels(chosen: Chosen) -> tuple[str, ...]:
    """The classes' labels; a model that names other classes cannot be compared by the same data, and is missing."""
    labels = chosen.artefacts[0].card.labels
    for artefact in [each for each in chosen.artefacts if each.card.labels != labels]:
        chosen.artefacts.remove(artefact)
        first = chosen.artefacts[0].card.model
        chosen.lacks(artefact.card.model, f"in {artefact.card.precision}: it names other classes than {first}.")
    return labels


def _unwritable(output: Path, error: OSError) -> str:
    return f"{error.filename or output} cannot be used: {error.strerror or error}. Name another --output"


def _unusable(output: Path, error: sqlite3.Error) -> str:
    from cli.evaluate.kept import NAME  # noqa: PLC0415

    path = output / NAME
    if "locked" in str(error):
        return f"{path} is in use: another evaluation writes to {output}. Wait for it, or name another --output"
    if "full" in str(error):
        return f"{path} cannot be written: there is no space left. Free some, or name another --output"
    return f"{path} keeps the answers and cannot be used ({error}). Begin anew (--restart), or name another --output"
