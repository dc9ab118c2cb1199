"""The command's words, what they mean together, and its exit code."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cli.console import complain, err, fail, out, printable, say
from cli.options import DEFAULT_DIR, Device, ModelsDir
from cli.server import CannotAnswer
from inference.classifier import WrongAnswer

if TYPE_CHECKING:
    from cli.live.film import Film
    from cli.live.loading import Parts
    from cli.live.looking import Looking
    from cli.live.screen import Screen
    from cli.live.source import Source
    from cli.live.tally import Tally

HELP = (
    "Look at a camera, a video or a stream: labels, boxes, frames per second.\n\n"
    "SOURCE is a camera's number (0 is the first), a video file, or the address of a stream (rtsp, http, https). Of a "
    "file every frame is looked at; of a camera or a stream the newest, and the others are counted as dropped.\n\n"
    "The frames are shown in a window with what was seen, or written to an mp4 (-o). Ctrl-C, q or Escape ends it.\n\n"
    "Exit code 1: it broke off, and said why; 2: nothing was looked at; 130: a file was stopped by Ctrl-C before its "
    "end, or anything by a second Ctrl-C, which does not wait for the frames at work. What was written until then can "
    "be played."
)
_WINDOW = "ninefold live"


@dataclass(frozen=True)
class _Asked:
    source: str
    output: Path | None
    force: bool
    mode: str
    detector: str | None
    denoise: bool
    most: int | None
    as_json: bool
    device: str


def live(  # noqa: PLR0913, PLR0917  # one for each word of the command
    source: Annotated[str, typer.Argument(help="A camera's number, a video file, or a stream's address.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="An mp4 in place of the window, at the source's frame rate.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over the mp4 if it is there.")] = False,
    mode: Annotated[
        Literal["classify", "detect", "detect+classify"],
        typer.Option(help="What the frame shows; where things are; where they are, and what each is."),
    ] = "classify",
    model: Annotated[str | None, typer.Option(help="Which model. Without it: the default.")] = None,
    precision: Annotated[str | None, typer.Option(help="In which precision. Without it: the model's default.")] = None,
    detector: Annotated[str | None, typer.Option(help="Which detector. Without it: the one that is here.")] = None,
    denoise: Annotated[bool, typer.Option("--filter", help="Denoise each frame first, by the guided filter.")] = False,
    frames: Annotated[int | None, typer.Option(min=1, help="End after so many.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The figures at the end as JSON.")] = False,
    device: Device = "CPU",
    models_dir: ModelsDir = DEFAULT_DIR,
) -> None:
    """See HELP."""
    asked = _Asked(source, output, force, mode, detector, denoise, frames, as_json, device)
    if detector and mode == "classify":
        fail("--detector finds things, and --mode classify asks for none: say --mode detect or detect+classify")
    try:
        import cv2  # noqa: F401, PLC0415
    except ImportError as error:
        fail(f"OpenCV cannot be loaded ({error}); requirements/live.txt names the package")
    try:
        with err.status("Getting ready …"):
            from cli.live.loading import Parts  # noqa: PLC0415  # `ninefold --help` need not wait for these
            from inference.detectors import Mode  # noqa: PLC0415

            parts = Parts(models_dir, Mode(mode), model, precision, detector, device)
        _live(asked, parts)
    except CannotAnswer as error:
        fail(printable(str(error)))
    except KeyboardInterrupt:
        fail("stopped", code=130)


def _live(asked: _Asked, parts: Parts) -> None:
    """Raises CannotAnswer before the first frame; ends the command after it."""
    from cli.live.loading import load  # noqa: PLC0415
    from cli.live.source import NoSource, open_source, public  # noqa: PLC0415
    from cli.live.tally import Tally  # noqa: PLC0415

    awake = threading.Event()
    try:
        source = open_source(asked.source, awake.set)
    except NoSource as error:
        raise CannotAnswer(str(error)) from error
    with ExitStack() as until_it_runs:
        until_it_runs.callback(source.close)
        sink = _sink(asked, source)
        with err.status("Loading …"):
            looking = load(parts, asked.denoise)
        until_it_runs.pop_all()
    tally = Tally()
    written, problem = _run(asked, source, looking, sink, tally, awake)
    if not (tally.frames or tally.stopped or problem):
        raise CannotAnswer(f"{public(asked.source)} has no frame that OpenCV can read")
    _show(asked, parts, tally, written)
    _end(asked, source, tally, problem)


def _sink(asked: _Asked, source: Source) -> Film | Screen:
    """Where frames go. Raises CannotAnswer."""
    if asked.output is not None:
        from cli.live.film import Film, NoFilm  # noqa: PLC0415

        try:
            return Film(asked.output, source.fps, source.live, asked.force)
        except NoFilm as error:
            raise CannotAnswer(str(error)) from error
    from cli.live.screen import NoScreen, Screen  # noqa: PLC0415

    try:
        return Screen(_WINDOW, None if source.live else source.fps)
    except NoScreen as error:
        raise CannotAnswer(str(error)) from error


def _run(
    asked: _Asked, source: Source, looking: Looking, sink: Film | Screen, tally: Tally, awake: threading.Event
) -> tuple[str | None, str | None]:
    """Runs it and, whatever ends that, lets go of the source and finishes the film.

    Returns what was written, and what it broke off for, in words.
    """
    from cli.live.film import NoFilm  # noqa: PLC0415
    from cli.live.loading import lanes  # noqa: PLC0415
    from cli.live.progress import telling  # noqa: PLC0415
    from cli.live.run import run  # noqa: PLC0415
    from cli.live.screen import NoScreen  # noqa: PLC0415

    total = min((count for count in (source.total, asked.most) if count), default=None)
    problem = None
    with _ctrl_c(tally):
        try:
            with telling(total) as tell:
                run(source, looking, sink, tally, awake, lanes(asked.device), asked.most, tell)
            if sink.closed and not tally.frames:
                problem = "the window was closed before the first frame"
        except (WrongAnswer, NoFilm, NoScreen) as error:
            problem = str(error)
        finally:
            tally.end()
            try:
                source.close()
            finally:
                written, not_written = _finished(asked, sink)
    return written, problem or not_written or _broken_off(source, tally)


@contextmanager
def _ctrl_c(tally: Tally) -> Iterator[None]:
    """Lets the first Ctrl-C (or SIGTERM, or the terminal's end) end the run after the frames that are at work, and the
    second without them.

    Neither raises anything: what comes after the run, the end of the film, goes on to its own end. Nor do they wake
    the loop, which looks by itself: a signal may come while the event that would do it is locked.
    """

    def stop(*_: object) -> None:
        if tally.ended is None:
            tally.hurried, tally.stopped = tally.stopped, True

    ends = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup wants it ignored
        ends.append(signal.SIGHUP)
    before = {each: signal.signal(each, stop) for each in ends}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _finished(asked: _Asked, sink: Film | Screen) -> tuple[str | None, str | None]:
    """What was written, in words, which are said on standard error; or why nothing was."""
    from cli.live.film import NoFilm  # noqa: PLC0415

    written, problem = None, None
    try:
        written = sink.finish()
    except NoFilm as error:
        problem = str(error)
    if asked.output is not None:
        say(printable(f"Written: {written}" if written else f"{asked.output} was not written."))
    return written, problem


def _broken_off(source: Source, tally: Tally) -> str | None:
    """What is to be said of a file that ended before its end."""
    if tally.stopped or not tally.frames or not source.missing:
        return None
    return f"the video broke off: it says it has {source.total:,} frames, and {tally.frames:,} could be read"


def _show(asked: _Asked, parts: Parts, tally: Tally, written: str | None) -> None:
    from cli.live.source import public  # noqa: PLC0415
    from cli.live.tally import figures, table  # noqa: PLC0415

    classifier, detector = ((part.card if part else None) for part in (parts.classifier, parts.detector))
    about: dict[str, Any] = {
        "source": public(asked.source),
        "mode": asked.mode,
        "model": classifier.model if classifier else None,
        "precision": classifier.precision if classifier else None,
        "detector": detector.model if detector else None,
        "filter": asked.denoise,
        "device": asked.device,
        "output": str(asked.output) if written else None,
    }
    found = figures(tally, about)
    if asked.as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        out.print(printable(f"{public(asked.source)}: {parts} on {asked.device}"), markup=False, soft_wrap=True)
        out.print(table(found))


def _end(asked: _Asked, source: Source, tally: Tally, problem: str | None) -> None:
    """Why it ended, on standard error; the exit code."""
    if tally.hurried:
        complain(f"stopped after {tally.frames:,} frames; those at work were not waited for")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(130)  # else Python would wait for their threads
    if problem:
        fail(printable(problem), code=1 if tally.frames else 2)
    if tally.stopped and not source.live:
        fail(f"stopped after {tally.frames:,} frames", code=130)
    if source.live and source.over and not tally.stopped and tally.frames != asked.most:
        say("There are no more frames: the stream has ended, or the camera was lost.")
