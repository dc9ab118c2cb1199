"""The HTML of a batch: its row in the list, its stage line, its progress. File names are a stranger's text: escaped."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, tzinfo
from html import escape

from frontend.batches import Batch, Limits, Notice, Progress
from frontend.words import clock_time, count, day, duration, size

__all__ = ["downloads", "empty", "facts", "heading", "line", "notice", "problem", "progress", "row", "title"]

_STAGES = ("uploaded", "preprocessing", "ready", "predicting", "done")
_WORDS = {
    "created": "not complete yet",
    "uploaded": "arrived, being checked",
    "preprocessing": "preprocessing",
    "ready": "ready to predict",
    "predicting": "predicting",
    "done": "done",
    "failed": "failed",
    "expired": "expired",
}
_TONES = {"failed": "bad", "expired": "off", "created": "off", "done": "good", "ready": "good"}


def title(limits: Limits) -> str:
    """What the page is for, in two lines."""
    most = f"Up to {size(limits.zip_bytes)} and {limits.entries:,} files in one zip. Every picture gets its own answer."
    return f'<div class="nf-title"><h1>What is in your zip?</h1><p>{most}</p></div>'


def notice(told: Notice) -> str:
    """What the operator wants everybody to read, and whether what is here will stay."""
    parts = [escape(told.message)] if told.message else []
    if told.disposable:
        parts.append(
            "What is uploaded here lives only as long as the application runs: download the results you want to keep."
        )
    return f'<div class="nf-notice nf-wait" role="status">{" ".join(parts)}</div>'


def empty() -> str:
    """How a zip gets here, while there is none."""
    return (
        '<div class="nf-way"><b>No batches yet</b>'
        "<p>Drop a zip of pictures here: it goes from this browser straight to the storage, is unpacked there, and "
        "waits for <i>Batch predict</i>.</p><p>Any S3 client may put it there as well, under "
        "<code>uploads/NAME/</code>:</p><pre>aws s3 cp photos.zip s3://BUCKET/uploads/NAME/</pre></div>"
    )


def row(batch: Batch, *, selected: bool, where: tzinfo, now: datetime) -> str:
    """One line of the list."""
    tone = _TONES.get(batch.state, "busy")
    name, state = escape(batch.name, quote=True), _WORDS.get(batch.state, escape(batch.state))
    meta = " · ".join((size(batch.size_bytes), clock_time(batch.created, where, now)))
    kept = _kept(batch, where, now)
    return (
        f'<div class="nf-pick{" nf-picked" if selected else ""}"><i class="nf-dot nf-{tone}"></i>'
        f'<bdi class="nf-pick-name" title="{name}">{name}</bdi><span class="nf-pick-state nf-{tone}">{state}</span>'
        f'<span class="nf-pick-meta">{meta}{f" · {kept}" if kept else ""}</span></div>'
    )


def heading(batch: Batch) -> str:
    """The name of the batch that is looked at."""
    name = escape(batch.name, quote=True)
    return f'<h2 class="nf-batch-name" title="{name}"><bdi>{name}</bdi></h2>'


def facts(batch: Batch, where: tzinfo, now: datetime) -> str:
    """Under the name: size, when it came, what is in it, how long it is kept."""
    told = [size(batch.size_bytes), f"created {clock_time(batch.created, where, now)}"]
    if batch.images is not None:
        told.append(count(batch.images, "picture"))
        told += [count(number, word) for number, word in ((batch.errors, "error"),) if number]
        told += [f"{batch.skipped:,} skipped"] if batch.skipped else []
    elif batch.entries is not None:
        told.append(count(batch.entries, "file"))
    kept = _kept(batch, where, now)
    return f'<div class="nf-facts">{" · ".join([*told, *([kept] if kept else [])])}</div>'


def line(batch: Batch) -> str:
    """The five stages, which of them are past, and which is now."""
    at, broken = _place(batch), batch.state == "failed"
    counts = _counts(batch)
    steps = []
    for place, stage in enumerate(_STAGES):
        # Uploaded, ready and done are points: to be there is to have passed them.
        passed = place < at or (place == at and batch.state in ("ready", "done"))
        kind = "past" if passed else "next" if place > at else "bad" if broken else "now"
        current = ' aria-current="step"' if place == at else ""
        under = f"<span>{counts[stage]}</span>" if counts.get(stage) else ""
        steps.append(
            f'<div class="nf-stage nf-{kind}" role="listitem"{current}><i></i><b>{stage.capitalize()}</b>{under}</div>'
        )
    return f'<div class="nf-stages" role="list" aria-label="Stages">{"".join(steps)}</div>'


def progress(batch: Batch) -> str:
    """How far the stage is, with the time left and the server's own words; empty where nothing moves."""
    if batch.state == "uploaded" and batch.progress is None:
        return _moving(Progress("uploaded", "The zip has arrived; its directory is being checked.", 0, 0, None))
    return _moving(batch.progress) if batch.progress and batch.moving else ""


def problem(code: str, message: str, headline: str) -> str:
    """Why it ended, in the server's words."""
    return (
        f'<div class="nf-problem nf-ended" role="alert"><b>{escape(headline)}</b><span>{escape(message)}</span>'
        f"<code>{escape(code)}</code></div>"
    )


def downloads(addresses: Mapping[str, str]) -> str:
    """A link for each form of the results: from the server to the browser, past this process."""
    links = "".join(
        f'<a class="nf-save" href="{escape(address, quote=True)}" download>{escape(form.upper())}</a>'
        for form, address in addresses.items()
    )
    return f'<div class="nf-saves" role="group" aria-label="Download the results">{links}</div>'


def _moving(now: Progress) -> str:
    told = [f"{now.done:,} of {now.total:,}"] if now.total else []
    if now.seconds_left is not None:
        told.append(f"about {duration(now.seconds_left)} left")
    if now.detail:
        told.append(escape(now.detail))
    percent = min(100.0, 100 * now.done / now.total) if now.total else 0.0
    unsure = "" if now.done else " nf-unsure"
    return (
        f'<div class="nf-progress{unsure}" role="progressbar" aria-label="{escape(now.stage)}" aria-valuemin="0" '
        f'aria-valuemax="100" aria-valuenow="{percent:.0f}"><i style="width:{percent:.2f}%"></i></div>'
        f'<div class="nf-under">{" · ".join(told) or "working"}</div>'
    )


def _place(batch: Batch) -> int:
    """Where on the line the batch is; -1 before it has arrived."""
    if batch.state in _STAGES:
        return _STAGES.index(batch.state)
    if batch.state == "created":
        return -1
    if batch.finished and batch.state == "expired":
        return 4
    return 3 if batch.predictions else 1


def _counts(batch: Batch) -> dict[str, str]:
    told = {"uploaded": size(batch.size_bytes)} if batch.state != "created" else {}
    if batch.entries is not None:
        told["preprocessing"] = count(batch.entries, "file")
    if batch.images is not None:
        told["ready"] = count(batch.images, "picture")
    done = [run.counts for run in batch.finished if run.counts]
    if done:
        told["done"] = count(done[-1].predictions, "answer")
    return told


def _kept(batch: Batch, where: tzinfo, now: datetime) -> str:
    if batch.expires.results and batch.predictions:
        return f"results kept until {day(batch.expires.results, where, now)}"
    if batch.expires.upload:
        return f"zip kept until {day(batch.expires.upload, where, now)}"
    return ""
