"""`ninefold batch`: a zip or a folder of any size, by a server's batches; the rows of all in one file."""

from __future__ import annotations

import asyncio
import signal
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.batches import BatchApi, Refused
from cli.console import err, fail, printable
from cli.pipeline import Course, Pipeline
from cli.progress import PREDICTING, PREPROCESSING, UPLOADING, Tally, reporter
from cli.results import Format, ResultsFile
from cli.server import CannotAnswer, ServerKey
from cli.zips import Parcel, parcel_of_zip, parcels_of_folder
from contract.ziplist import ZipLimits

HELP = (
    "Classify a zip, or all files of a folder, and save a row for each.\n\n"
    "A folder of any size is sent as zips that the server takes, one after the other; disk space for one is "
    "enough. Hidden files and the system's own are left out.\n\n"
    "The batches stay on the server, so that the page shows them and another model can predict from the same "
    "pixels, until they expire by themselves. --delete removes them once the results are saved.\n\n"
    "Exit code 1: one or more could not be answered; 2: nothing was tried; 130: stopped by Ctrl-C."
)

_WORDS = {"predictions": "predicted", "errors": "errors", "skipped": "skipped"}


@dataclass
class _Order:
    """What was asked for, and how far it came."""

    path: Path
    target: Path
    format: Format
    server: str
    model: str | None
    precision: str | None
    keep: bool
    key: str | None
    courses: list[Course] = field(default_factory=list)


def batch(  # noqa: PLR0913, PLR0917  # one for each word of the command
    path: Annotated[Path, typer.Argument(help="A zip, or a folder.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where the rows go. Without it: ./NAME-results.json.")
    ] = None,
    server: Annotated[
        str, typer.Option(envvar="NINEFOLD_API_URL", help="The server's address; batches need one.")
    ] = "http://127.0.0.1:8000",
    model: Annotated[str | None, typer.Option(help="Which model. Without it: the server's default.")] = None,
    precision: Annotated[str | None, typer.Option(help="In which precision. Without it: the model's default.")] = None,
    format: Annotated[Format | None, typer.Option(help="Without it: as the output's name ends.")] = None,
    keep: Annotated[
        bool, typer.Option("--keep/--delete", help="Whether the batches stay on the server until they expire.")
    ] = True,
    key: ServerKey = None,
) -> None:
    """Takes a zip or a folder through a server's batches; HELP says it to people."""
    chosen, target = _target(path, output, format)
    order = _Order(path, target, chosen, server, model, precision, keep, key)
    try:
        code = asyncio.run(_run(order))
    except CannotAnswer as error:
        fail(str(error))
    except OSError as error:
        fail(f"{target} cannot be written: {error.strerror or error}", code=1)
    except KeyboardInterrupt:
        _say_what_goes_on(order)
        raise typer.Exit(128 + signal.SIGINT) from None
    if code:
        raise typer.Exit(code)


def _target(path: Path, output: Path | None, format: Format | None) -> tuple[Format, Path]:
    if not path.exists():
        fail(f"there is no {path}")
    by_name = {f".{one}": one for one in Format}
    if output is None:
        chosen = format or Format.JSON
        name = path.resolve().name if path.is_dir() else path.stem
        return chosen, Path(f"{name or 'folder'}-results.{chosen}")
    if format is None and output.suffix.lower() not in by_name:
        fail(f"how {output} should look does not show in its name: end it in .json, .jsonl or .csv, or say --format")
    if output.is_dir():
        fail(f"{output} is a folder. Name the file for the results")
    return format or by_name[output.suffix.lower()], output


async def _run(order: _Order) -> int:
    api = BatchApi(order.server, order.key)
    async with api.http:
        try:
            parcels = await _prepare(api, order)
        except Refused as refused:
            raise CannotAnswer(refused.message) from refused
        results = ResultsFile(order.target, order.format, order.path.resolve().name)
        try:
            return await _fetch(api, order, parcels, results)
        finally:
            results.discard()


async def _prepare(api: BatchApi, order: _Order) -> list[Parcel]:
    """What is to be sent. Raises CannotAnswer or Refused for whatever is known to fail before anything travels."""
    overview = await api.overview()
    notice = (overview.get("notice") or {}).get("message")
    if notice:
        err.print(printable(notice), markup=False, soft_wrap=True)
    if order.model or order.precision:
        _check_variant(await api.models(), order.model, order.precision)
    told = overview["limits"]
    limits = ZipLimits(max_bytes=int(told["zip_bytes"]), max_entries=int(told["entries"]))
    if order.path.is_dir():
        return await asyncio.to_thread(parcels_of_folder, order.path, limits, order.target)
    return [await asyncio.to_thread(parcel_of_zip, order.path, limits)]


def _check_variant(models: list[dict[str, Any]], name: str | None, precision: str | None) -> None:
    """Now rather than after half a gigabyte was uploaded."""
    model = next((model for model in models if (model["name"] == name if name else model["default"])), None)
    if model is None:
        known = ", ".join(str(model["name"]) for model in models)
        raise CannotAnswer(f"the server knows no model {name!r}. Known models: {known}")
    if model["status"] != "ready":
        raise CannotAnswer(f"{model['name']} is not ready on the server: {model['reason']}")
    precisions = [str(variant["precision"]) for variant in model["variants"]]
    if precision and precision not in precisions:
        raise CannotAnswer(f"the server has {model['name']} in {', '.join(precisions)}, not in {precision!r}")


async def _fetch(api: BatchApi, order: _Order, parcels: list[Parcel], results: ResultsFile) -> int:
    entries = sum(len(parcel.items) for parcel in parcels)
    size = sum(parcel.size_bytes for parcel in parcels)
    report, shown = reporter(Tally({UPLOADING: size, PREPROCESSING: entries, PREDICTING: entries}))
    pipeline = Pipeline(api, order.model, order.precision, parcels, report)
    order.courses = pipeline.courses
    with shown:
        async with aclosing(pipeline.rows()) as rows:
            async for row in rows:
                results.add(row)
    failed = [course for course in pipeline.courses if course.problem]
    if failed and len(failed) == len(parcels):
        # A file of nothing but the same sentence would only stand in the way of an earlier one.
        tried = any(course.batch for course in failed)
        fail("nothing was predicted, and no results were saved", code=1 if tried else 2)
    results.finish(_head(pipeline.courses))
    counts = results.counts
    words = ", ".join(f"{counts[what]:,} {word}" for what, word in _WORDS.items())
    err.print(f"{words}: {order.target}", markup=False, soft_wrap=True)
    await _leave(api, pipeline.courses, order.keep)
    return 1 if failed or counts["errors"] else 0


def _head(courses: list[Course]) -> dict[str, Any]:
    batches = [
        {
            "id": course.batch,
            "filename": course.parcel.file_name,
            "error": {"code": course.problem[0], "message": course.problem[1]} if course.problem else None,
        }
        for course in courses
    ]
    model, precision = next((course.variant for course in courses if course.variant), (None, None))
    only = courses[0].batch if len(courses) == 1 else None
    return {"id": only, "model": model, "precision": precision, "batches": batches}


async def _leave(api: BatchApi, courses: list[Course], keep: bool) -> None:
    for course in courses:
        if course.batch is None or not course.uploaded:
            continue
        if keep or course.problem:
            err.print(f"kept on the server: batch {course.batch}", markup=False, soft_wrap=True)
            continue
        try:
            await api.delete(course.batch)
        except (Refused, CannotAnswer) as error:
            err.print(f"batch {course.batch} cannot be deleted: {error}", style="red", markup=False, soft_wrap=True)


def _say_what_goes_on(order: _Order) -> None:
    err.print("ninefold: stopped; no results were saved", style="red", markup=False)
    with_key = '-H "Authorization: Bearer $NINEFOLD_API_KEY" ' if order.key else ""
    for course in order.courses:
        if course.uploaded and course.batch:
            name = printable(course.parcel.file_name)
            err.print(
                f"Batch {course.batch} ({name}) goes on on the server. To delete it: "
                f"curl {with_key}-X DELETE {order.server.rstrip('/')}/v1/batches/{course.batch}",
                markup=False,
                soft_wrap=True,
            )
