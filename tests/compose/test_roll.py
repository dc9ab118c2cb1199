"""Rolling updates of a host under constant load: what its visitors notice of them."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import Browser, expect

from tests.compose.engine import derived, docker
from tests.compose.filming import filming
from tests.compose.load import PER_SECOND, Load, load
from tests.compose.site import Site
from tests.compose.visit import sign_in, visit

# A golden image that the model cannot get right: the server is never ready, and refuses what it is asked.
_MISJUDGES = (
    "USER root",
    'RUN sed -i \'/"golden": {/,$ s/"index": [0-9]*/"index": 1/\' models/*/*/card.json',
    "USER 10001",
)
# The server itself, which dies without a word ten seconds after it was ready.
_CRASHES = """
import os, runpy, threading, time, urllib.request
def watch():
    while True:
        try: urllib.request.urlopen("http://127.0.0.1:8000/readyz"); break
        except OSError: time.sleep(0.1)
    time.sleep(10); os._exit(1)
threading.Thread(target=watch, daemon=True).start()
runpy.run_module("backend", run_name="__main__")
"""


def program(tag: str, base: str, text: str) -> str:
    """The image with another program in the server's place."""
    escaped = text.strip().replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return derived(tag, base, f'CMD ["python", "-c", "{escaped}"]')


@pytest.fixture
def first(site: Site) -> str:
    """What runs before the test, which is what `.env` names."""
    image = site.named("NINEFOLD_BACKEND_IMAGE")
    assert site.running("backend") == [image]
    return image


def test_a_good_one_takes_over_and_no_request_fails(site: Site, first: str) -> None:
    good = derived("ninefold-test-backend:v2", first, "ENV NINEFOLD_REVISION=v2")
    with load(site) as answers, filming(site) as camera:
        done = site.roll(backend=good)
        time.sleep(2)
    assert done.returncode == 0, done.stdout + done.stderr
    assert answers.bad == [] and camera.bad == []
    # Once for the old one's drain; the new one has answered since.
    assert camera.ends == [(1012, "draining")] and camera.since_the_last_end > 0 and camera.answers > 10
    assert answers.good > 12 * PER_SECOND  # as long as it was watched at the least
    assert site.running("backend") == [good] and site.named("NINEFOLD_BACKEND_IMAGE") == good
    _tell("rolled", answers)
    again = site.roll(backend=good, frontend=site.named("NINEFOLD_FRONTEND_IMAGE"))
    assert again.stdout.count("runs already") == 2, again.stdout + again.stderr


def test_one_that_never_gets_ready_is_never_asked_and_goes(site: Site, first: str) -> None:
    with load(site) as answers:
        done = site.roll(backend=derived("ninefold-test-backend:misjudges", first, *_MISJUDGES), ready=20)
    assert done.returncode == 1 and "golden" in done.stderr, done.stdout + done.stderr
    assert answers.bad == []
    assert answers.good > 15 * PER_SECOND
    assert site.running("backend") == [first] and site.named("NINEFOLD_BACKEND_IMAGE") == first
    _tell("never ready", answers)


def test_one_that_crashes_once_it_answers_is_taken_back(site: Site, first: str) -> None:
    with load(site) as answers:
        done = site.roll(backend=program("ninefold-test-backend:crashes", first, _CRASHES))
        before = len(answers.bad)
        time.sleep(3)
    assert done.returncode == 1 and "ended by itself" in done.stderr, done.stdout + done.stderr
    assert site.running("backend") == [first] and site.named("NINEFOLD_BACKEND_IMAGE") == first
    # What it was answering as it died is lost; nothing after it was taken away.
    assert answers.bad[before:] == []
    _tell("crashed", answers)


def test_what_a_killed_roll_left_is_cleared_by_the_next(site: Site, first: str) -> None:
    left = derived("ninefold-test-backend:left", first, "ENV NINEFOLD_REVISION=left")
    named = {"NINEFOLD_BACKEND_IMAGE": left}
    up = ("compose", "--env-file", ".env", "up", "--detach", "--wait", "--no-deps", "--no-recreate", "--scale")
    docker(*up, "backend=2", "backend", env=named, cwd=site.folder)
    assert sorted(site.running("backend")) == sorted([first, left])
    done = site.roll(backend=first)
    assert done.returncode == 0 and "left from an interrupted roll" in done.stdout, done.stdout + done.stderr
    assert site.running("backend") == [first]


@pytest.mark.browser
def test_an_open_page_comes_back_by_itself_when_the_page_is_rolled(site: Site, browser: Browser) -> None:
    second = derived("ninefold-test-frontend:v2", site.named("NINEFOLD_FRONTEND_IMAGE"), "ENV V=2")
    with visit(browser, site, "/") as visitor:
        visitor.press("Try it with samples")
        expect(visitor.answered).to_have_count(9)
        done = site.roll(frontend=second)
        assert done.returncode == 0, done.stdout + done.stderr
        # The visit lived in the old container: its pictures are gone, and the password is asked for again.
        sign_in(visitor.page)
        visitor.press("Try it with samples")
        expect(visitor.answered).to_have_count(9)


def _tell(what: str, answers: Load) -> None:
    waits = f"{answers.told_to_wait} times told to wait" if answers.told_to_wait else "nobody told to wait"
    print(f"{what}: {answers.good} answers, {len(answers.bad)} lost, {waits}, the slowest {answers.slowest:.2f} s")
