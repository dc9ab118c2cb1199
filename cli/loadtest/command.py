"""The command's words, what they mean together, and its exit code."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from cli.console import err, fail, out
from cli.loadtest.plan import Arrivals, Body, Plan
from cli.server import CannotAnswer, ServerKey

if TYPE_CHECKING:
    from rich.table import Table

HELP = (
    "Measure how many pictures a server answers, and how fast.\n\n"
    "Each thread of each worker keeps one connection and asks again once it is answered. With --rate requests are due "
    "by a schedule instead, whatever comes back, and a latency counts from when its request was due, so that a server "
    "that stalls cannot hold the questions back.\n\n"
    "One request is made first and not counted: what would fail each time is said in a sentence.\n\n"
    "Exit code 1: one or more requests failed; 2: nothing was measured; 130: stopped by Ctrl-C, with the figures so "
    "far."
)
_OPEN_CONNECTIONS = 64
_CEILING_THREADS = 4


@dataclass(frozen=True)
class _Files:
    """Where the figures go besides; `as_json`: to standard output instead of the table."""

    output: Path | None
    png: Path | None
    as_json: bool

    def check(self) -> None:
        """Raises CannotAnswer for a folder that is not there: before the measuring, not after it."""
        for path in (self.output, self.png):
            if path and (path.is_dir() or not path.absolute().parent.is_dir()):
                raise CannotAnswer(f"{path} cannot be written; name a file in a folder that is there")

    def write(self, figures: Any) -> None:
        """Raises CannotAnswer."""
        try:
            if self.output:
                self.output.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
            if self.png:
                from cli.loadtest.plot import plot  # noqa: PLC0415

                plot(figures, self.png)
        except OSError as error:
            raise CannotAnswer(f"{error.filename} cannot be written: {error.strerror}") from error


def loadtest(  # noqa: PLR0913, PLR0917  # one for each word of the command
    targets: Annotated[
        list[str] | None,
        typer.Argument(metavar="IMAGE... ENDPOINT", help="Pictures, sent in turn, and the server's address."),
    ] = None,
    workers: Annotated[int, typer.Option("--workers", "-w", min=1, help="Processes.")] = 1,
    threads: Annotated[
        int | None,
        typer.Option("--threads", "-t", min=1, help="Connections of each worker: 1; with --rate up to 64, as needed."),
    ] = None,
    samples: Annotated[int, typer.Option("--samples", "-s", min=1, help="Requests of each thread.")] = 10,
    seconds: Annotated[float, typer.Option("--seconds", "-i", min=0, help="For so long; -s does not count then.")] = 0,
    images: Annotated[
        int, typer.Option("--images", "-b", min=1, help="Per request; over 9 by the Open Inference Protocol.")
    ] = 1,
    rate: Annotated[float, typer.Option(min=0, help="Requests per second of all workers, as an open loop.")] = 0,
    arrivals: Annotated[Arrivals, typer.Option(help="How they follow each other, with --rate.")] = Arrivals.POISSON,
    model: Annotated[str | None, typer.Option(help="Which model. Without it: the server's default.")] = None,
    precision: Annotated[str | None, typer.Option(help="In which precision. Without it: the model's default.")] = None,
    warmup: Annotated[float, typer.Option(min=0, help="Seconds of the same before anything is measured.")] = 0,
    timeout: Annotated[
        float, typer.Option(min=0.001, help="Seconds for an answer; with --rate, what is due for longer is not sent.")
    ] = 30,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file for all figures, as JSON.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All figures as JSON, in place of the table.")] = False,
    png: Annotated[Path | None, typer.Option(help="Latency and throughput, as a picture.")] = None,
    ceiling: Annotated[
        bool,
        typer.Option("--ceiling", help="What this command itself drives, against a server that does nothing."),
    ] = False,
    key: ServerKey = None,
) -> None:
    """See HELP."""
    spare = _OPEN_CONNECTIONS - 1 if rate and not threads else 0
    threads = threads or (_CEILING_THREADS if ceiling else 1)
    loop = (workers, threads, samples, seconds, rate, arrivals, warmup, timeout, spare)
    plan = Plan("", (), images > 9, images, *loop)
    try:
        files = _Files(output, png, as_json)
        files.check()
        if ceiling:
            _ceiling(plan, targets or [], files)
            return
        plan, bodies = _prepared(plan, targets or [], model, precision, key)
        _measure(plan, bodies, files)
    except CannotAnswer as error:
        fail(str(error))


def _prepared(
    plan: Plan, targets: list[str], model: str | None, precision: str | None, key: str | None
) -> tuple[Plan, list[Body]]:
    """The plan with its address and headers, and its requests, one of which the server has answered."""
    from cli.loadtest import bodies, target  # noqa: PLC0415  # `ninefold --help` need not wait for these

    if len(targets) < 2:
        raise CannotAnswer(
            "name one picture or more, and then the server: ninefold loadtest cat.jpg http://127.0.0.1:8000"
        )
    *paths, endpoint = targets
    base = target.base_of(endpoint)
    given = bodies.pictures([Path(path) for path in paths])
    headers = _authorization(key)
    if plan.infer:
        url, tensor = target.infer_target(base, model, precision, key)
        made = bodies.bodies(given, plan.images, tensor)
    else:
        url, made = target.predict_url(base, model, precision), bodies.bodies(given, plan.images)
    plan = replace(plan, url=url, headers=headers)
    target.probe(plan, made[0])
    return plan, made


def _authorization(key: str | None) -> tuple[str, ...]:
    if not key:
        return ()
    if not key.isascii() or not key.strip().isprintable():
        raise CannotAnswer("the key has characters that no key has (NINEFOLD_API_KEY, --key)")
    return (f"Authorization: Bearer {key.strip()}",)


def _measure(plan: Plan, bodies: list[Body], files: _Files) -> None:
    from cli.loadtest.fleet import measure  # noqa: PLC0415
    from cli.loadtest.progress import telling  # noqa: PLC0415
    from cli.loadtest.report import report, table  # noqa: PLC0415

    with telling() as tell:
        measured = measure(plan, bodies, tell)
    figures = report(measured)
    _show(table(figures), figures, files)
    if measured.stopped:
        _stopped()
    if figures["failed"]:
        raise typer.Exit(1)


def _ceiling(plan: Plan, pictures: list[str], files: _Files) -> None:
    from cli.loadtest import bodies, ceiling  # noqa: PLC0415
    from cli.loadtest.progress import telling  # noqa: PLC0415

    if files.png:
        raise CannotAnswer("--ceiling draws no picture; leave --png out")
    # As many as there are processors share them with the server.
    plan = replace(plan, workers=max(plan.workers, 2), seconds=plan.seconds or ceiling.SECONDS)
    plan = replace(plan, warmup=plan.warmup or ceiling.WARMUP_SECONDS, rate=0.0, spare=0)
    given = bodies.pictures([Path(path) for path in pictures])
    with telling() as tell:
        found = ceiling.ceiling(plan, given, tell)
    _show(ceiling.table(found), found, files)
    if found and found[-1]["stopped"]:
        _stopped()


def _show(shown: Table, figures: Any, files: _Files) -> None:
    if files.as_json:
        typer.echo(json.dumps(figures, indent=2))
    else:
        out.print(shown)
    files.write(figures)


def _stopped() -> NoReturn:
    err.print("ninefold: stopped; these are the figures so far", style="red", markup=False)
    raise typer.Exit(130)
