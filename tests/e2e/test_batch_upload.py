"""The upload of a zip from the browser to the storage: whole, in parts, past the page's process, whatever breaks."""

from __future__ import annotations

import re
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import expect

from tests.e2e.batch_visitor import BatchVisitor, random_zip
from tests.frontend.fake_batch_server import DROP
from tests.frontend.fake_batches import Refusal

pytestmark = pytest.mark.browser


def arrived(visitor: BatchVisitor, name: str) -> bytes:
    """The bytes of the only batch of that name, once it has arrived."""
    visitor.told(f"“\u2068{name}\u2069” has arrived", 60)
    (batch,) = [batch for batch in visitor.cloud.shelf.batches.values() if batch.name == name]
    return batch.zip


def until(reached: object, what: str, seconds: float = 30) -> None:
    """Waits until the function says so."""
    deadline = time.monotonic() + seconds
    while not reached():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def holding(visitor: BatchVisitor, file: Path, *parts: int) -> None:
    """Starts an upload of which only these parts get through, and waits until they have."""
    storage = visitor.cloud.storage
    storage.free = set(parts)
    storage.unheld.clear()
    visitor.choose(file)
    shelf = visitor.cloud.shelf
    until(lambda: any(set(parts) <= set(batch.blobs) for batch in shelf.batches.values()), f"parts {parts} arrive")


def page_memory(address: str) -> int:
    """Bytes of the page's process."""
    port = address.rsplit(":", 1)[1]
    children = psutil.Process().children(recursive=True)
    (process,) = [child for child in children if "streamlit" in child.cmdline() and port in child.cmdline()]
    return int(process.memory_info().rss)


def test_forty_megabytes_arrive_as_they_are_and_never_through_the_page(
    batch_visitor: BatchVisitor, tmp_path: Path
) -> None:
    file = random_zip(tmp_path / "photos.zip", 40)
    storage = batch_visitor.cloud.storage
    storage.unheld.clear()
    before = page_memory(batch_visitor.address)
    batch_visitor.choose(file)
    until(lambda: len(storage.puts) == 4, "four parts are under way at once")
    storage.unheld.set()
    assert arrived(batch_visitor, "photos.zip") == file.read_bytes()
    assert page_memory(batch_visitor.address) - before < 20e6
    assert Counter(storage.puts) == Counter(range(1, 11))
    assert storage.most == 4
    assert Counter(part for parts in batch_visitor.cloud.signed for part in parts) == Counter(range(1, 11))
    expect(batch_visitor.page.locator(".nf-batch-name")).to_have_text("photos.zip")
    assert batch_visitor.remembered == []


def test_it_shows_how_far_it_is(batch_visitor: BatchVisitor, tmp_path: Path) -> None:
    batch_visitor.cloud.storage.seconds = 0.3
    holding(batch_visitor, random_zip(tmp_path / "photos.zip", 40), 1, 2, 3, 4, 5)
    page = batch_visitor.page
    expect(page.locator(".percent")).to_have_text(re.compile(r"[5-9]\d %"))
    expect(page.locator(".facts")).to_have_text(re.compile(r"\d+ MB of 40 MB · .*/s · about .* left"))
    bar = page.get_by_role("progressbar", name="Upload", exact=True)
    expect(bar).to_have_attribute("aria-valuenow", re.compile(r"[5-9]\d"))
    expect(page.locator(".live")).to_have_text(re.compile(r"[5-9]0 % of photos.zip sent"))
    batch_visitor.cloud.storage.unheld.set()
    batch_visitor.told("has arrived")


def test_it_needs_nothing_that_is_missing_on_plain_http(batch_visitor: BatchVisitor, tmp_path: Path) -> None:
    batch_visitor.page.add_init_script(
        "Object.defineProperty(Crypto.prototype, 'subtle', {get: () => undefined});"
        "delete Crypto.prototype.randomUUID; delete Navigator.prototype.locks;"
    )
    batch_visitor.reload()
    file = random_zip(tmp_path / "photos.zip", 9)
    batch_visitor.choose(file)
    assert arrived(batch_visitor, "photos.zip") == file.read_bytes()


def test_a_part_that_fails_three_times_is_sent_again(batch_visitor: BatchVisitor, tmp_path: Path) -> None:
    file = random_zip(tmp_path / "photos.zip", 13)
    batch_visitor.cloud.storage.faults = {2: [500, DROP, 503], 4: [403]}
    batch_visitor.choose(file)
    assert arrived(batch_visitor, "photos.zip") == file.read_bytes()
    assert Counter(batch_visitor.cloud.storage.puts) == {1: 1, 2: 4, 3: 1, 4: 2}
    signed = Counter(part for parts in batch_visitor.cloud.signed for part in parts)
    assert signed[4] == 2, "an address that has expired is signed again"


def test_a_part_that_fails_for_good_gives_words_and_a_second_chance(
    batch_visitor: BatchVisitor, tmp_path: Path
) -> None:
    file = random_zip(tmp_path / "photos.zip", 22)
    storage = batch_visitor.cloud.storage
    storage.faults = {3: [500] * 5}
    batch_visitor.choose(file)
    batch_visitor.told("The storage answered with status 500.", 40)
    first = Counter(storage.puts)
    assert first[3] == 5
    batch_visitor.press("Try again")
    assert arrived(batch_visitor, "photos.zip") == file.read_bytes()
    assert Counter(storage.puts) - first == {3: 1}


def test_a_server_that_is_busy_is_asked_again(batch_visitor: BatchVisitor, tmp_path: Path) -> None:
    file = random_zip(tmp_path / "photos.zip", 1)
    busy = Refusal(503, "storage_away", "The storage does not answer.")
    batch_visitor.cloud.prepared["POST /v1/batches"] = [busy, DROP]
    batch_visitor.choose(file)
    assert arrived(batch_visitor, "photos.zip") == file.read_bytes()


def test_an_answer_that_was_lost_on_its_way_is_no_failure(batch_visitor: BatchVisitor, tmp_path: Path) -> None:
    holding(batch_visitor, random_zip(tmp_path / "photos.zip", 5), 1)
    (batch,) = batch_visitor.cloud.shelf.batches.values()
    wrong = Refusal(409, "wrong_state", "The upload is complete.")
    batch_visitor.cloud.prepared[f"POST /v1/batches/{batch.id}/upload/complete"] = [DROP, wrong]
    batch.state = "uploaded"
    batch_visitor.cloud.storage.unheld.set()
    batch_visitor.told("has arrived")


def test_parts_that_got_lost_are_sent_again_before_the_end(batch_visitor: BatchVisitor, tmp_path: Path) -> None:
    file = random_zip(tmp_path / "photos.zip", 9)
    holding(batch_visitor, file, 1, 2)
    (batch,) = batch_visitor.cloud.shelf.batches.values()
    del batch.blobs[2]
    batch_visitor.cloud.storage.unheld.set()
    assert arrived(batch_visitor, "photos.zip") == file.read_bytes()
    assert Counter(batch_visitor.cloud.storage.puts)[2] == 2


def test_cancel_removes_what_had_arrived(batch_visitor: BatchVisitor, tmp_path: Path) -> None:
    holding(batch_visitor, random_zip(tmp_path / "photos.zip", 13), 1)
    (batch,) = batch_visitor.cloud.shelf.batches
    batch_visitor.press("Cancel")
    batch_visitor.told("The upload was cancelled")
    assert batch_visitor.cloud.shelf.deleted == [batch]
    expect(batch_visitor.page.locator("b", has_text="Drop a zip of pictures here")).to_be_visible()
    batch_visitor.sees("No batches yet")
    batch_visitor.reload()
    expect(batch_visitor.page.locator(".kept")).to_be_empty()


def test_cancelled_while_the_file_is_looked_at_nothing_is_begun(batch_visitor: BatchVisitor, tmp_path: Path) -> None:
    batch_visitor.page.add_init_script(
        "const read = Blob.prototype.arrayBuffer;"
        "const looked = new Promise(go => { window.look = go; });"
        "Blob.prototype.arrayBuffer = async function () { await looked; return read.call(this); };"
    )
    batch_visitor.reload()
    batch_visitor.choose(random_zip(tmp_path / "photos.zip", 1))
    batch_visitor.press("Cancel")
    batch_visitor.evaluate("window.look()")
    batch_visitor.told("The upload was cancelled")
    batch_visitor.evaluate("new Promise(go => setTimeout(go, 500))")  # what would go on, goes on
    batch_visitor.told("The upload was cancelled")
    assert not batch_visitor.cloud.shelf.batches


def test_after_a_reload_only_what_is_missing_is_sent(batch_visitor: BatchVisitor, tmp_path: Path) -> None:
    file = random_zip(tmp_path / "photos.zip", 22)
    holding(batch_visitor, file, 1, 2, 4)
    until(lambda: marks(batch_visitor) == {"1", "2", "4"}, "the browser remembers the parts")
    batch_visitor.reload()
    batch_visitor.sees("The upload of “\u2068photos.zip\u2069” (22 MB) was interrupted at 57 %. Choose the same file")
    storage = batch_visitor.cloud.storage
    storage.puts.clear()
    storage.unheld.set()
    batch_visitor.choose(file)
    assert arrived(batch_visitor, "photos.zip") == file.read_bytes()
    assert sorted(storage.puts) == [3, 5, 6]
    expect(batch_visitor.page.locator(".kept")).to_be_empty()


def marks(visitor: BatchVisitor) -> set[str]:
    """The parts that the browser remembers."""
    return {part for record in visitor.remembered for part in record["marks"]}


def test_another_file_of_the_same_name_and_size_is_told_apart(batch_visitor: BatchVisitor, tmp_path: Path) -> None:
    holding(batch_visitor, random_zip(tmp_path / "photos.zip", 9), 1)
    until(lambda: marks(batch_visitor) == {"1"}, "the browser remembers the part")
    batch_visitor.reload()
    batch_visitor.sees(re.compile("was interrupted"))
    other = random_zip(tmp_path / "photos.zip", 9)
    storage = batch_visitor.cloud.storage
    storage.seconds = 0.5
    storage.unheld.set()
    batch_visitor.choose(other)
    batch_visitor.told("This is not the file whose upload was interrupted")
    batch_visitor.told("has arrived")
    first, second = batch_visitor.cloud.shelf.batches.values()
    assert (first.zip, second.zip) == (b"", other.read_bytes())
    batch_visitor.press("Discard it")
    expect(batch_visitor.page.locator(".kept")).to_be_empty()
    assert batch_visitor.cloud.shelf.deleted == [first.id]


NO_LOCKS = "delete Navigator.prototype.locks;"  # as on plain http
BOTH_WAYS = pytest.mark.parametrize("first", ["", NO_LOCKS], ids=["locks", "no locks"])


def tabs(visitor: BatchVisitor, file: Path, first: str) -> BatchVisitor:
    """A second tab, while in the first one an upload is held at its parts 1 and 2. `first` is run in both."""
    visitor.page.context.add_init_script(first)
    visitor.reload()
    holding(visitor, file, 1, 2)
    until(lambda: marks(visitor) == {"1", "2"}, "the browser remembers the parts")
    second = BatchVisitor(visitor.page.context.new_page(), visitor.cloud, visitor.address).open()
    second.sees("“\u2068photos.zip\u2069” (22 MB) is being uploaded in another tab of this browser.")
    expect(second.page.get_by_role("button", name="Discard it")).to_have_count(0)
    return second


@BOTH_WAYS
def test_an_upload_in_another_tab_is_left_to_it(batch_visitor: BatchVisitor, tmp_path: Path, first: str) -> None:
    file, cloud = random_zip(tmp_path / "photos.zip", 22), batch_visitor.cloud
    second = tabs(batch_visitor, file, first)
    cloud.storage.free = set()
    second.choose(file)
    second.told("A file of this name and size is being uploaded in another tab")
    until(lambda: len(cloud.shelf.batches) == 2, "it is a batch of its own")
    mine, other = cloud.shelf.batches.values()
    cloud.storage.unheld.set()
    until(lambda: mine.zip == other.zip == file.read_bytes(), "both arrive", 60)
    until(lambda: not batch_visitor.remembered, "nothing is remembered")
    for visitor in (batch_visitor, second):
        expect(visitor.page.locator(".kept")).to_be_empty()
    assert cloud.shelf.deleted == []


@BOTH_WAYS
def test_what_a_tab_leaves_behind_another_one_can_go_on_with(
    batch_visitor: BatchVisitor, tmp_path: Path, first: str
) -> None:
    file, storage = random_zip(tmp_path / "photos.zip", 22), batch_visitor.cloud.storage
    second = tabs(batch_visitor, file, first)
    batch_visitor.page.goto("about:blank")
    second.sees(re.compile("was interrupted at 38 %"))
    expect(second.page.get_by_role("button", name="Discard it")).to_be_enabled()
    storage.puts.clear()
    storage.unheld.set()
    second.choose(file)
    assert arrived(second, "photos.zip") == file.read_bytes()
    assert sorted(storage.puts) == [3, 4, 5, 6]


def test_an_upload_that_the_server_no_longer_knows_is_forgotten(batch_visitor: BatchVisitor, tmp_path: Path) -> None:
    file = random_zip(tmp_path / "photos.zip", 9)
    holding(batch_visitor, file, 1)
    batch_visitor.cloud.shelf.batches.clear()
    batch_visitor.reload()
    until(lambda: not batch_visitor.remembered, "the record is gone")
    expect(batch_visitor.page.locator(".kept")).to_be_empty()
    batch_visitor.cloud.storage.unheld.set()
    batch_visitor.choose(file)
    assert arrived(batch_visitor, "photos.zip") == file.read_bytes()


def test_a_batch_that_is_removed_meanwhile_is_started_anew(batch_visitor: BatchVisitor, tmp_path: Path) -> None:
    file = random_zip(tmp_path / "photos.zip", 9)
    holding(batch_visitor, file, 1)
    until(lambda: batch_visitor.remembered[0]["marks"], "the page knows that part 1 has arrived")
    batch_visitor.cloud.shelf.batches.clear()
    batch_visitor.cloud.storage.unheld.set()
    batch_visitor.told("The server no longer has this upload")
    batch_visitor.press("Try again")
    assert arrived(batch_visitor, "photos.zip") == file.read_bytes()


@pytest.mark.parametrize(
    ("name", "size", "words"),
    [
        ("photos.rar", 1000, "is no zip: its name does not end in .zip"),
        ("empty.zip", 0, "is empty"),
        ("note.zip", 1000, "is no zip, or its end is missing"),
        ("huge.zip", 500_000_001, "has 500 MB; 500 MB is the most"),
        ("vast.zip", 3_000_000_000, "has 3.00 GB; 500 MB is the most"),
    ],
)
def test_what_is_no_zip_or_too_large_is_refused_before_anything_is_sent(
    batch_visitor: BatchVisitor, tmp_path: Path, name: str, size: int, words: str
) -> None:
    with (tmp_path / name).open("wb") as sparse:
        sparse.truncate(size)
    batch_visitor.choose(tmp_path / name)
    batch_visitor.told(words)
    assert not [asked for asked in batch_visitor.cloud.asked if asked.startswith("POST")]
    assert batch_visitor.cloud.storage.puts == []
    batch_visitor.choose(random_zip(tmp_path / "good.zip", 1))
    batch_visitor.told("has arrived")


def test_the_servers_own_limit_holds_and_is_told(batch_visitor: BatchVisitor, tmp_path: Path) -> None:
    file = random_zip(tmp_path / "photos.zip", 3)
    batch_visitor.cloud.prepared["POST /v1/batches"] = [Refusal(413, "zip_too_large", "2 MB is the most today.")]
    batch_visitor.choose(file)
    batch_visitor.told("2 MB is the most today.")
    assert batch_visitor.cloud.storage.puts == []


def test_a_file_that_changes_meanwhile_is_told_in_words(batch_visitor: BatchVisitor, tmp_path: Path) -> None:
    file = random_zip(tmp_path / "photos.zip", 26)
    holding(batch_visitor, file, 1)
    with file.open("ab") as opened:
        opened.write(b"more")
    batch_visitor.cloud.storage.unheld.set()
    batch_visitor.told("can no longer be read: it was changed, moved or removed")
    batch_visitor.press("Cancel")
    batch_visitor.told("The upload was cancelled")
    batch_visitor.choose(random_zip(tmp_path / "photos.zip", 2))
    assert arrived(batch_visitor, "photos.zip") == file.read_bytes()


def test_it_goes_on_while_another_page_is_looked_at(batch_visitor: BatchVisitor, tmp_path: Path) -> None:
    file = random_zip(tmp_path / "photos.zip", 22)
    holding(batch_visitor, file, 1, 2)
    batch_visitor.page.get_by_role("link", name="Pictures").click()
    batch_visitor.sees("What is in your pictures?")
    batch_visitor.cloud.storage.free.add(3)
    batch_visitor.page.get_by_role("link", name="Batch").click()
    expect(batch_visitor.page.locator(".percent")).to_have_text(re.compile(r"[1-9]\d %"))
    batch_visitor.cloud.storage.unheld.set()
    assert arrived(batch_visitor, "photos.zip") == file.read_bytes()
    assert Counter(batch_visitor.cloud.storage.puts) == Counter(range(1, 7))


def test_a_rerun_of_the_page_leaves_it_alone(batch_visitor: BatchVisitor, tmp_path: Path) -> None:
    batch_visitor.cloud.shelf.add("old.zip").ready()
    batch_visitor.reload()
    file = random_zip(tmp_path / "photos.zip", 9)
    holding(batch_visitor, file, 1)
    batch_visitor.show("old.zip")
    batch_visitor.page.emulate_media(color_scheme="dark")
    batch_visitor.cloud.storage.unheld.set()
    assert arrived(batch_visitor, "photos.zip") == file.read_bytes()
    assert Counter(batch_visitor.cloud.storage.puts) == {1: 1, 2: 1, 3: 1}


def test_the_zip_is_chosen_and_cancelled_by_keyboard(batch_visitor: BatchVisitor, tmp_path: Path) -> None:
    page = batch_visitor.page
    with page.expect_file_chooser() as chooser:
        page.locator("input[type=file]").press("Enter")
    batch_visitor.cloud.storage.unheld.clear()
    chooser.value.set_files(random_zip(tmp_path / "photos.zip", 5))
    expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Enter")
    batch_visitor.told("The upload was cancelled")


def test_a_hostile_name_is_only_text(batch_visitor: BatchVisitor, tmp_path: Path) -> None:
    name = "<img src=x onerror=window.hacked=1> ](javascript:alert(1)) **b** :smile: $x$.zip"
    batch_visitor.choose(random_zip(tmp_path / name, 1))
    batch_visitor.told("has arrived")
    expect(batch_visitor.page.locator(".nf-batch-name")).to_have_text(name)
    expect(batch_visitor.row(name)).to_have_count(1)
    assert batch_visitor.evaluate("window.hacked") is None


def test_a_server_out_of_the_browsers_reach_is_named(batch_visitor: BatchVisitor, tmp_path: Path) -> None:
    batch_visitor.page.route(re.compile(re.escape(batch_visitor.cloud.url)), lambda route: route.abort())
    batch_visitor.choose(random_zip(tmp_path / "photos.zip", 1))
    batch_visitor.told(f"This browser cannot reach the server at {batch_visitor.cloud.url}.", 40)
    batch_visitor.page.unroute_all()
    batch_visitor.press("Try again")
    batch_visitor.told("has arrived")
