"""The main job: pictures in, true answers out, each on its own card."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.e2e.visitor import Visitor, payload
from tests.pictures import jpeg, sample

pytestmark = pytest.mark.browser


@pytest.mark.samples
def test_nine_photographs_get_nine_answers_from_one_request(
    visitor: Visitor, photographs: list[tuple[Path, str]]
) -> None:
    before = visitor.requests()
    visitor.give([path for path, _ in photographs])
    expect(visitor.answered).to_have_count(9)
    right = [visitor.best(path.name) == label for path, label in photographs]
    assert sum(right) >= 6, right
    assert visitor.requests() == before + 1


def test_the_tenth_is_refused_in_words_and_nothing_is_sent(visitor: Visitor) -> None:
    visitor.press("Try it with samples")
    expect(visitor.answered).to_have_count(9)
    before = visitor.requests()
    visitor.give([payload("tenth.jpg", jpeg())])
    visitor.sees("“tenth.jpg” was not taken: there is room for nine pictures. Remove one to make room.")
    expect(visitor.answered).to_have_count(9)
    assert visitor.requests() == before


def test_files_may_be_dropped(visitor: Visitor) -> None:
    visitor.drop([payload("cat.jpg", sample("cat.jpg")), payload("notes.txt", b"hello")])
    expect(visitor.card("cat.jpg").locator(".nf-bars")).to_be_visible()
    expect(visitor.card("notes.txt").locator(".nf-problem")).to_contain_text("no picture")


def test_ten_at_once_are_nine_answers_and_one_refusal(visitor: Visitor) -> None:
    visitor.give([payload(f"{number}.jpg", jpeg(seed=number)) for number in range(10)])
    visitor.sees("“9.jpg” was not taken")
    expect(visitor.answered).to_have_count(9)


def test_a_broken_picture_has_its_words_on_its_own_card(visitor: Visitor) -> None:
    broken = payload("broken.jpg", sample("koala.jpg")[:3000])
    visitor.give([payload("cat.jpg", sample("cat.jpg")), broken, payload("macaw.jpg", sample("macaw.jpg"))])
    expect(visitor.answered).to_have_count(2)
    expect(visitor.card("broken.jpg").locator(".nf-problem")).to_contain_text("breaks off")
    assert visitor.best("macaw.jpg") == "macaw"
    assert visitor.best("cat.jpg") == "Egyptian cat"


def test_too_large_a_picture_is_told_so_without_being_sent(visitor: Visitor, tmp_path: Path) -> None:
    before = visitor.requests()
    (tmp_path / "big.jpg").write_bytes(sample("cat.jpg") + bytes(25_000_001))
    visitor.give([tmp_path / "big.jpg"])
    expect(visitor.card("big.jpg").locator(".nf-problem")).to_contain_text("25 MB is the most")
    assert visitor.requests() == before


def test_a_text_file_named_jpg_is_told_so(visitor: Visitor) -> None:
    visitor.give([payload("note.jpg", b"hello")])
    expect(visitor.card("note.jpg").locator(".nf-problem")).to_contain_text("no picture")
    expect(visitor.card("note.jpg").locator(".nf-blank")).to_be_visible()


def test_removing_and_adding_asks_only_for_what_is_new(visitor: Visitor) -> None:
    visitor.press("Try it with samples")
    expect(visitor.answered).to_have_count(9)
    before = visitor.requests()
    visitor.remove("koala.jpg")
    expect(visitor.cards).to_have_count(8)
    expect(visitor.answered).to_have_count(8)
    expect(visitor.card("koala.jpg")).to_have_count(0)
    assert visitor.requests() == before
    images = visitor.server.metric('ninefold_images_total{outcome="ok"')
    visitor.give([payload("new.jpg", sample("koala.jpg"))])
    expect(visitor.answered).to_have_count(9)
    assert visitor.server.metric('ninefold_images_total{outcome="ok"') == images + 1
    visitor.press("Remove all")
    visitor.sees("Drop pictures above")


def test_a_snapshot_is_a_picture_like_any_other(visitor: Visitor) -> None:
    visitor.evaluate(
        """() => {
            const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
            navigator.mediaDevices.getUserMedia = wanted => { window.asked = true; return real(wanted); };
        }"""
    )
    assert not visitor.evaluate("window.asked")
    visitor.press("Use the camera")
    visitor.snap()
    expect(visitor.card("camera-1.jpg").locator(".nf-bars")).to_be_visible()
    assert visitor.evaluate("window.asked")
    visitor.snap()
    expect(visitor.card("camera-2.jpg").locator(".nf-bars")).to_be_visible()
    visitor.press("Close the camera")
    expect(visitor.page.get_by_role("button", name="Take Photo")).to_have_count(0)


def test_top_k_moves_without_asking(visitor: Visitor) -> None:
    visitor.give([payload("cat.jpg", sample("cat.jpg"))])
    expect(visitor.page.locator(".nf-bar")).to_have_count(5)
    before = visitor.requests()
    visitor.page.get_by_role("slider").press("ArrowRight")
    expect(visitor.page.locator(".nf-bar")).to_have_count(6)
    assert visitor.requests() == before


def test_another_model_answers_and_coming_back_asks_nothing(visitor: Visitor) -> None:
    visitor.give([payload("cat.jpg", sample("cat.jpg"))])
    expect(visitor.answered).to_have_count(1)
    visitor.sees("because resnet18, the default, is missing")
    pick(visitor, "ResNet-18, random weights")
    visitor.sees("because you chose it")
    expect(visitor.answered).to_have_count(1)
    before = visitor.requests()
    pick(visitor, "EfficientNet-Lite0")
    visitor.sees("Egyptian cat")
    assert visitor.requests() == before


def test_a_missing_model_is_shown_with_its_command_and_cannot_be_chosen(visitor: Visitor) -> None:
    visitor.page.get_by_text("Not available here: ResNet-18").click()
    visitor.sees("ninefold models build resnet18")
    visitor.page.get_by_role("combobox", name="Model").click()
    expect(visitor.page.get_by_role("option")).to_have_count(2)


def test_the_downloads_are_what_the_api_answers(visitor: Visitor) -> None:
    files = [("cat.jpg", sample("cat.jpg")), ("broken.jpg", b"\xff\xd8"), ("=1+1.jpg", sample("macaw.jpg"))]
    visitor.give([payload(name, data) for name, data in files])
    expect(visitor.answered).to_have_count(2)
    expect(visitor.problems).to_have_count(1)
    saved = json.loads(visitor.download("JSON"))
    said = visitor.server.post(*files, model=saved["model"], precision=saved["precision"], top_k=5).json()
    assert strip(saved) == strip(said)
    rows = list(csv.DictReader(io.StringIO(visitor.download("CSV"), newline="")))
    assert [row["name"] for row in rows] == ["cat.jpg", "broken.jpg", "'=1+1.jpg"]
    assert [row["status"] for row in rows] == ["ok", "error", "ok"]
    assert rows[0]["label1"] == said["results"][0]["predictions"][0]["label"]
    assert rows[1]["code"] == said["results"][1]["error"]["code"]


def pick(visitor: Visitor, title: str) -> None:
    visitor.page.get_by_role("combobox", name="Model").click()
    visitor.page.get_by_role("option").filter(has_text=title).click()


def strip(body: dict[str, object]) -> object:
    """Probabilities to three digits: a batch of another size may differ in the last bits."""
    return json.loads(json.dumps(body), parse_float=lambda number: round(float(number), 3))
