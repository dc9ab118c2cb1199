"""`ninefold batch`: zips and folders through a server's batches, every row in one file, and honest exit codes."""

import csv
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli import batches, pipeline, uploading
from cli.main import app
from tests import zips
from tests.cli.batch_server import BatchServer, Held, Refusal, batch_server
from tests.servers import ROOT, free_port
from tests.zips import Member

CSV_HEADER = ["entry", "name", "status", *[f"{c}{r}" for r in range(1, 6) for c in ("label", "index", "probability")]]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[BatchServer]:
    """Set as the server to ask; nobody waits longer than a test may."""
    for module in (batches, uploading):
        monkeypatch.setattr(module, "FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(pipeline, "FIRST_POLL_SECONDS", 0.01)
    monkeypatch.setattr(pipeline, "LONGEST_POLL_SECONDS", 0.02)
    with batch_server() as (url, server):
        monkeypatch.setenv("NINEFOLD_API_URL", url)
        yield server


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands run in an empty folder of their own; temporary zips go to another."""
    (tmp_path / "here").mkdir()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def ninefold(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(app, ["batch", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


def a_zip(files: dict[str, bytes], name: str = "photos.zip") -> Path:
    path = Path(name)
    path.write_bytes(zips.of(files))
    return path


def a_folder(files: dict[str, bytes], name: str = "trip") -> Path:
    for file, data in files.items():
        path = Path(name, file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return Path(name)


def rows(path: str | Path) -> list[dict]:
    return json.loads(Path(path).read_text("utf-8"))["results"]


def brief(row: dict) -> tuple:
    what = row["predictions"][0]["label"] if row["status"] == "ok" else row.get("reason") or row["error"]["code"]
    return row["entry"], row["name"], row["status"], what


THREE = {"a.jpg": b"one", "b/ü.jpg": b"two" * 1000, "c.jpg": b"three"}


# -- one zip -----------------------------------------------------------------------------------------------------


def test_a_zip_is_uploaded_predicted_and_saved_in_the_apis_shape(server: BatchServer, here: Path) -> None:
    result = ninefold(a_zip(THREE))
    assert result.exit_code == 0, result.stderr
    saved = json.loads((here / "photos-results.json").read_text("utf-8"))
    assert [brief(row) for row in saved["results"]] == [
        (0, "a.jpg", "ok", "small:one"),
        (1, "b/ü.jpg", "ok", "small:" + ("two" * 14)[:40]),
        (2, "c.jpg", "ok", "small:three"),
    ]
    assert {key: saved[key] for key in ("id", "filename", "model", "precision", "counts")} == {
        "id": "B1",
        "filename": "photos.zip",
        "model": "small",
        "precision": "fp32",
        "counts": {"predictions": 3, "errors": 0, "skipped": 0, "entries": 3},
    }
    assert server.of("photos.zip").zip == Path("photos.zip").read_bytes() and server.most_putting <= 4
    assert "3 predicted, 0 errors, 0 skipped" in result.stderr and not result.stdout
    assert sorted(path.name for path in here.iterdir()) == ["photos-results.json", "photos.zip"]


def test_error_rows_and_skipped_ones_are_saved_and_errors_are_exit_code_1(server: BatchServer) -> None:
    result = ninefold(a_zip({"a.jpg": b"one", "b.jpg": b"bad", "c/": b"", "more.zip": b"x"}), "-o", "r.json")
    assert result.exit_code == 1 and "1 predicted, 1 errors, 2 skipped" in result.stderr
    assert [brief(row)[2:] for row in rows("r.json")] == [
        ("ok", "small:one"),
        ("error", "corrupt"),
        ("skipped", "folder"),
        ("skipped", "nested_zip"),
    ]


def test_skipped_rows_alone_are_no_failure(server: BatchServer) -> None:
    assert ninefold(a_zip({"a.jpg": b"one", "c/": b""})).exit_code == 0


def test_jsonl_and_csv_by_the_names_end_or_by_option(server: BatchServer) -> None:
    path = a_zip({"=a.jpg": b"one", "b,\n.jpg": b"bad", "c/": b""})
    for arguments in (["-o", "r.jsonl"], ["-o", "r.CSV"], ["--format", "csv"], ["-o", "odd.txt", "--format", "jsonl"]):
        assert ninefold(path, *arguments).exit_code == 1
    lines = [json.loads(line) for line in Path("r.jsonl").read_text("utf-8").splitlines()]
    assert [brief(line)[:3] for line in lines] == [(0, "=a.jpg", "ok"), (1, "b,\n.jpg", "error"), (2, "c/", "skipped")]
    assert Path("odd.txt").read_text("utf-8") == Path("r.jsonl").read_text("utf-8")
    table = list(csv.reader(io.StringIO(Path("r.CSV").read_bytes().decode())))
    assert table[0] == [*CSV_HEADER, "code", "message"] and {len(line) for line in table} == {len(table[0])}
    assert table[1][:6] == ["0", "'=a.jpg", "ok", "small:one", "1", "0.5"]
    assert table[2][1:3] + table[2][-2:] == ["b,\n.jpg", "error", "corrupt", "It is damaged."]
    assert table[3][2:4] + table[3][-2:] == ["skipped", "", "folder", ""]
    assert Path("photos-results.csv").read_bytes() == Path("r.CSV").read_bytes()


def test_the_servers_notice_is_said(server: BatchServer) -> None:
    server.notice = "Everything here is \x1b[31mgone tomorrow."
    stderr = ninefold(a_zip(THREE)).stderr
    assert "gone tomorrow" in stderr and "\x1b" not in stderr


def test_without_a_terminal_the_way_is_told_in_plain_lines(server: BatchServer) -> None:
    stderr = ninefold(a_zip({str(n): bytes(5000) for n in range(20)})).stderr
    assert "uploading: 0 of 0 MB" in stderr and "preprocessing: 20 of 20" in stderr and "predicting: 20 of 20" in stderr
    assert "\x1b" not in stderr and "━" not in stderr


# -- what stays on the server ------------------------------------------------------------------------------------


def test_the_batch_stays_unless_it_is_to_be_deleted(server: BatchServer) -> None:
    result = ninefold(a_zip(THREE))
    assert server.deleted == [] and "kept on the server: batch B1" in result.stderr
    assert ninefold(a_zip(THREE), "--delete", "-o", "r.json").exit_code == 0
    assert server.deleted == ["B2"] and len(rows("r.json")) == 3


def test_a_failed_batch_is_not_deleted(server: BatchServer) -> None:
    server.limits["entries"] = 1
    server.fail_in["trip-1-of-2.zip"] = ("predicting", {"code": "model_missing", "message": "It is gone."})
    assert ninefold(a_folder({"a.jpg": b"one", "b.jpg": b"two"}), "--delete").exit_code == 1
    assert server.deleted == [server_id for server_id in ("B1", "B2") if server_id not in server.batches]
    assert [held.file_name for held in server.batches.values()] == ["trip-1-of-2.zip"]


# -- models ------------------------------------------------------------------------------------------------------


def test_another_models_pixels_are_asked_for_and_then_predicted(server: BatchServer) -> None:
    result = ninefold(a_zip(THREE), "--model", "other", "--precision", "int8")
    assert result.exit_code == 0 and "preprocessed once more" in result.stderr
    assert rows("photos-results.json")[0]["predictions"][0]["label"] == "other:one"
    assert server.asked.count(("POST", "/v1/batches/B1/preprocess")) == 1


@pytest.mark.parametrize("state", ["FAILED", "TIMEOUT", "STOPPED", "ERROR"])
def test_a_second_preprocessing_that_fails_is_no_endless_loop(server: BatchServer, state: str) -> None:
    server.runs_end = state
    result = ninefold(a_zip(THREE), "--model", "other")
    assert result.exit_code == 1 and f"The preprocessing for other ended as {state}" in result.stderr
    assert server.asked.count(("POST", "/v1/batches/B1/preprocess")) == 1


@pytest.mark.parametrize("another", ["other", "third"])
def test_another_persons_run_is_waited_for(server: BatchServer, another: str) -> None:
    server.another_run, server.looks = another, 3
    result = ninefold(a_zip(THREE), "--model", "other")
    assert result.exit_code == 0 and rows("photos-results.json")[0]["predictions"][0]["label"] == "other:one"
    assert ("preprocessed once more" in result.stderr) == (another == "third")


def test_another_persons_run_that_fails_is_followed_by_ours(
    server: BatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.another_run, server.runs_end = "other", "FAILED"
    preprocess = server.preprocess

    def and_succeed(held: Held, body: object) -> tuple[int, object]:
        answer = preprocess(held, body)
        server.runs_end = "SUCCEEDED"
        return answer

    monkeypatch.setattr(server, "preprocess", and_succeed)
    assert ninefold(a_zip(THREE), "--model", "other").exit_code == 0


def test_a_run_that_is_said_to_be_at_it_is_waited_for(server: BatchServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It began between the look and the wish."""
    preprocess, refusals = server.preprocess, [Refusal(409, "wrong_state", "A run is at it already.")] * 3

    def refuse(held: Held, body: object) -> tuple[int, object]:
        if refusals:
            raise refusals.pop()
        return preprocess(held, body)

    monkeypatch.setattr(server, "preprocess", refuse)
    assert ninefold(a_zip(THREE), "--model", "other").exit_code == 0 and not refusals


def test_a_run_that_nobody_sees_is_not_waited_for_without_end(
    server: BatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(held: Held, body: object) -> tuple[int, object]:
        raise Refusal(409, "wrong_state", "The zip is not there (any more): upload it again.")

    monkeypatch.setattr(server, "preprocess", refuse)
    monkeypatch.setattr(pipeline, "PATIENCE_SECONDS", 0.2)
    result = ninefold(a_zip(THREE), "--model", "other")
    assert result.exit_code == 1 and "upload it again" in result.stderr


def test_pixels_that_never_come_are_not_waited_for_without_end(
    server: BatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.runs_end = ""  # it is over, and nobody says how
    monkeypatch.setattr(pipeline, "PATIENCE_SECONDS", 0.2)
    result = ninefold(a_zip(THREE), "--model", "other")
    assert result.exit_code == 1 and "needs other pixels" in result.stderr


def test_a_run_that_never_ends_is_not_waited_for_without_end(
    server: BatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.looks = 1
    monkeypatch.setattr(pipeline, "LONGEST_RUN_SECONDS", 0.2)
    preprocess = server.preprocess

    def and_hang(held: Held, body: object) -> tuple[int, object]:
        server.looks = 10**9
        return preprocess(held, body)

    monkeypatch.setattr(server, "preprocess", and_hang)
    result = ninefold(a_zip(THREE), "--model", "other")
    assert result.exit_code == 1 and "needs other pixels" in result.stderr


# -- events that are lost ----------------------------------------------------------------------------------------


def test_a_batch_that_nothing_starts_is_started(server: BatchServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.lost_events = 1
    monkeypatch.setattr(pipeline, "PATIENCE_SECONDS", 0.2)
    began = time.monotonic()
    assert ninefold(a_zip(THREE)).exit_code == 0
    assert time.monotonic() - began > 0.2
    assert server.asked.count(("POST", "/v1/batches/B1/preprocess")) == 1


def test_a_batch_that_is_started_by_the_server_itself_is_left_to_it(
    server: BatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.lost_events = 1
    look = server.look

    def and_start(held: Held, body: object) -> tuple[int, object]:
        if held.looked == 5:
            server.lost_events, held.restartable = 0, False
        return look(held, body)

    monkeypatch.setattr(server, "look", and_start)
    assert ninefold(a_zip(THREE)).exit_code == 0
    assert ("POST", "/v1/batches/B1/preprocess") not in server.asked


def test_a_batch_that_nothing_can_start_is_said_in_words(server: BatchServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.lost_events = 10**9
    monkeypatch.setattr(pipeline, "PATIENCE_SECONDS", 0.2)
    body = server.body

    def with_its_reason(held: Held) -> dict[str, object]:
        return body(held) | {"progress": {"stage": "preprocessing", "detail": "Denied.", "done": 0, "total": 0}}

    monkeypatch.setattr(server, "body", with_its_reason)
    result = ninefold(a_zip(THREE))
    assert result.exit_code == 1 and "photos.zip failed: The preprocessing does not start. Denied." in result.stderr
    assert server.asked.count(("POST", "/v1/batches/B1/preprocess")) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "alexnet"], "Known models: small, other, large"),
        (["--model", "large"], "its weights cannot be had"),
        (["--model", "other", "--precision", "bf16"], "in fp32, int8, not in 'bf16'"),
        (["--precision", "int8"], "small in fp32, not in 'int8'"),
    ],
)
def test_a_variant_that_is_not_there_is_said_before_anything_travels(
    server: BatchServer, arguments: list[str], words: str
) -> None:
    result = ninefold(a_zip(THREE), *arguments)
    assert result.exit_code == 2 and words in result.stderr and not server.batches


# -- uploads that go wrong ---------------------------------------------------------------------------------------


def test_parts_go_four_at_a_time(server: BatchServer) -> None:
    server.seconds_a_part = 0.05
    assert ninefold(a_zip({"a.jpg": random.Random(1).randbytes(20_000)})).exit_code == 0
    assert server.most_putting == 4 and set(server.puts.values()) == {1}


def test_parts_that_fail_are_sent_again(server: BatchServer) -> None:
    server.put_answers = {1: [500, 503], 3: [400]}
    path = a_zip({"a.jpg": random.Random(1).randbytes(5_000)})
    assert ninefold(path).exit_code == 0
    assert (server.puts[1], server.puts[2], server.puts[3]) == (3, 1, 2)
    assert server.of("photos.zip").zip == path.read_bytes()


def test_an_expired_address_is_replaced_by_a_fresh_one(server: BatchServer) -> None:
    server.expired_urls = 5
    path = a_zip({"a.jpg": random.Random(1).randbytes(9_000)})
    assert ninefold(path).exit_code == 0
    assert sum(server.puts.values()) == 10 + 5 and server.of("photos.zip").zip == path.read_bytes()


def test_an_upload_that_never_works_is_one_sentence_and_leaves_nothing_on_the_server(server: BatchServer) -> None:
    server.expired_urls = 10**9
    result = ninefold(a_zip(THREE))
    assert result.exit_code == 1 and "403 (AccessDenied)" in result.stderr
    assert not server.batches and server.deleted == ["B1"] and not Path("photos-results.json").exists()


def test_parts_that_the_server_lacks_in_the_end_are_sent_again(server: BatchServer) -> None:
    server.lose_parts = {2, 4}
    path = a_zip({"a.jpg": random.Random(1).randbytes(5_000)})
    assert ninefold(path).exit_code == 0
    assert [server.puts[part] for part in range(1, 7)] == [1, 2, 1, 2, 1, 1]
    assert server.of("photos.zip").zip == path.read_bytes()


def test_a_lost_answer_to_complete_is_no_failure(server: BatchServer) -> None:
    server.lose_answer_of_complete = True
    assert ninefold(a_zip(THREE)).exit_code == 0


def test_a_storage_that_is_away_for_a_while_is_waited_for(server: BatchServer) -> None:
    server.away = 6
    assert ninefold(a_zip(THREE)).exit_code == 0


def test_results_that_break_off_are_taken_up_where_they_broke(server: BatchServer) -> None:
    server.break_results = 2
    assert ninefold(a_zip({f"{n}.jpg": b"%d" % n for n in range(50)})).exit_code == 0
    assert [row["entry"] for row in rows("photos-results.json")] == list(range(50))


def test_whatever_unicode_takes_for_the_end_of_a_line_may_be_in_names(server: BatchServer) -> None:
    files = {f"{n}{end}.jpg": b"%d" % n for n, end in enumerate("\u2028\u2029\x85\x0b\x0c\x1c\r")}
    assert ninefold(a_zip(files)).exit_code == 0
    assert [row["name"] for row in rows("photos-results.json")] == list(files)


def test_rows_that_the_server_leaves_out_are_error_rows(server: BatchServer) -> None:
    server.drop_rows = 2
    assert ninefold(a_zip(THREE)).exit_code == 1
    assert [row["status"] for row in rows("photos-results.json")] == ["ok", "error", "error"]


# -- folders -----------------------------------------------------------------------------------------------------


def test_a_folder_is_one_zip_of_all_its_files_but_hidden_ones(server: BatchServer) -> None:
    files = {"b/2.jpg": b"two", "a.jpg": b"one", "b/c/3.jpg": b"three", "notes.txt": b"bad"}
    hidden = {".secret": b"x", "b/.git/x.jpg": b"x", "__MACOSX/a.jpg": b"x", "b/Thumbs.db": b"x", "desktop.ini": b"x"}
    result = ninefold(a_folder(files | hidden), "-o", "r.json")
    assert result.exit_code == 1
    assert [brief(row) for row in rows("r.json")] == [
        (0, "a.jpg", "ok", "small:one"),
        (1, "notes.txt", "error", "corrupt"),
        (2, "b/2.jpg", "ok", "small:two"),
        (3, "b/c/3.jpg", "ok", "small:three"),
    ]
    assert [held.file_name for held in server.batches.values()] == ["trip.zip"]


def test_a_folder_of_any_size_goes_in_zips_below_both_limits(server: BatchServer, tmp_path: Path) -> None:
    server.limits = {"zip_bytes": 10_000, "entries": 7}
    server.part_size = 4000
    files = {f"{n:03d}.jpg": b"%03d" % n + bytes(2000 * (n % 3)) for n in range(40)}
    assert ninefold(a_folder(files)).exit_code == 0
    saved = json.loads(Path("trip-results.json").read_text("utf-8"))
    assert [(row["entry"], row["name"]) for row in saved["results"]] == list(enumerate(files))
    for row in saved["results"]:
        assert row["predictions"][0]["label"].startswith(f"small:{row['name'][:3]}")
    sizes = [len(held.zip) for held in server.batches.values()]
    assert len(sizes) > 5 and max(sizes) <= 10_000 and server.most_in_flight <= 2
    assert saved["id"] is None and [part["id"] for part in saved["batches"]] == list(server.batches)
    assert saved["counts"] == {"predictions": 40, "errors": 0, "skipped": 0, "entries": 40}
    assert not list((tmp_path / "temporary").iterdir())


def test_the_same_folder_makes_the_same_zip(server: BatchServer) -> None:
    folder = a_folder(THREE)
    ninefold(folder)
    os.utime(folder / "a.jpg", (0, 0))
    ninefold(folder)
    one, two = server.batches.values()
    assert one.zip == two.zip


def test_the_next_zip_is_uploaded_while_the_last_is_preprocessed(server: BatchServer) -> None:
    server.limits["entries"] = 1
    server.looks = 5
    assert ninefold(a_folder({f"{n}.jpg": b"%d" % n for n in range(4)})).exit_code == 0
    second = server.asked.index(("POST", "/v1/batches/B2/upload/complete"))
    assert second < server.asked.index(("POST", "/v1/batches/B1/predict"))
    assert server.most_in_flight == 2
    third = server.asked.index(("POST", "/v1/batches/B3/upload/urls"))
    assert third > server.asked.index(("POST", "/v1/batches/B1/predict"))


def test_one_zip_that_fails_makes_error_rows_and_the_others_go_on(server: BatchServer) -> None:
    server.limits["entries"] = 2
    server.fail_in["trip-2-of-3.zip"] = ("preprocessing", {"code": "job_failed", "message": "The job ran out of luck."})
    result = ninefold(a_folder({f"{n}.jpg": b"%d" % n for n in range(6)}))
    assert result.exit_code == 1 and "trip-2-of-3.zip failed: The job ran out of luck." in result.stderr
    statuses = [brief(row)[2:] for row in rows("trip-results.json")]
    assert statuses[2:4] == [("error", "job_failed")] * 2 and all(status == "ok" for status, _ in statuses[:2])
    assert [row["entry"] for row in rows("trip-results.json")] == list(range(6))
    batches = json.loads(Path("trip-results.json").read_text("utf-8"))["batches"]
    assert [part["error"] and part["error"]["code"] for part in batches] == [None, "job_failed", None]


def test_files_that_cannot_be_sent_are_rows_at_their_place(server: BatchServer) -> None:
    folder = a_folder({"a.jpg": b"one", "d.jpg": b"four"})
    (folder / "b.jpg").symlink_to("nowhere")
    os.mkfifo(folder / "c.jpg")
    (folder / "e.mov").write_bytes(bytes(30_000))
    server.limits["zip_bytes"] = 20_000
    result = ninefold(folder)
    assert result.exit_code == 1
    assert [brief(row)[1:] for row in rows("trip-results.json")] == [
        ("a.jpg", "ok", "small:one"),
        ("b.jpg", "error", "unreadable"),
        ("c.jpg", "error", "unreadable"),
        ("d.jpg", "ok", "small:four"),
        ("e.mov", "error", "too_many_bytes"),
    ]


def test_a_file_that_goes_away_before_its_turn_is_a_row(server: BatchServer, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = a_folder({"a.jpg": b"one", "b.jpg": b"two", "c.jpg": b"three"})
    create = server.create
    server.limits["entries"] = 1

    def and_remove(body: object) -> tuple[int, object]:
        (folder / "b.jpg").unlink(missing_ok=True)
        return create(body)

    monkeypatch.setattr(server, "create", and_remove)
    assert ninefold(folder).exit_code == 1
    assert [brief(row)[2:] for row in rows("trip-results.json")] == [
        ("ok", "small:one"),
        ("error", "unreadable"),
        ("ok", "small:three"),
    ]


def test_unreadable_files_alone_are_rows_and_no_batch(server: BatchServer) -> None:
    Path("trip").mkdir()
    Path("trip/a.jpg").symlink_to("nowhere")
    result = ninefold("trip")
    assert result.exit_code == 1 and brief(rows("trip-results.json")[0])[3] == "unreadable" and not server.batches


def test_the_results_are_never_among_the_files(server: BatchServer) -> None:
    folder = a_folder({"a.jpg": b"one"})
    for _ in range(2):
        assert ninefold(folder, "-o", folder / "results.json").exit_code == 0
    assert [row["name"] for row in rows(folder / "results.json")] == ["a.jpg"]


def test_names_that_are_no_utf8_are_sent_with_what_is_missing_marked(server: BatchServer) -> None:
    folder = a_folder({"a.jpg": b"one"})
    path = folder / b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    try:
        path.write_bytes(b"two")
    except OSError:
        pytest.skip("this file system has UTF-8 names only")
    assert ninefold(folder).exit_code == 0
    assert [row["name"] for row in rows("trip-results.json")] == ["a.jpg", "caf?.jpg"]


def test_a_full_disk_is_one_sentence(server: BatchServer, full_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(full_disk))
    result = ninefold(a_folder({"a.jpg": bytes(8_000_000)}))
    assert result.exit_code == 2 and "No space left" in result.stderr and "TMPDIR" in result.stderr
    assert not server.batches


# -- nothing can be tried ----------------------------------------------------------------------------------------


def test_no_server_is_one_sentence() -> None:
    result = ninefold(a_zip(THREE), "--server", f"http://127.0.0.1:{free_port()}")
    assert result.exit_code == 2 and "does not answer" in result.stderr and "make run" in result.stderr
    assert sorted(path.name for path in Path().iterdir()) == ["photos.zip"]


@pytest.mark.parametrize(("url", "word"), [("nonsense", "does not answer"), ("http://[::", "no server's address")])
def test_what_is_no_address_is_one_sentence(url: str, word: str) -> None:
    result = ninefold(a_zip(THREE), "--server", url)
    assert result.exit_code == 2 and word in result.stderr


def test_a_server_without_a_bucket_says_what_to_set(server: BatchServer) -> None:
    server.off = True
    result = ninefold(a_zip(THREE))
    assert result.exit_code == 2 and "Set NINEFOLD_BUCKET" in result.stderr


@pytest.mark.parametrize(
    "refusal", [Refusal(413, "zip_too_large", "500 MB is the most."), Refusal(422, "empty_zip", "It is empty.")]
)
def test_a_zip_that_is_not_taken_is_exit_code_2(server: BatchServer, refusal: Refusal) -> None:
    server.refuse_create = refusal
    result = ninefold(a_zip(THREE))
    assert result.exit_code == 2 and str(refusal) in result.stderr and not Path("photos-results.json").exists()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "The file is empty"),
        (b"no zip", "no zip archive"),
        (zips.build([zips.zipcrypto(Member("a.jpg", b"a"))]), "without a password"),
        (zips.many(20), "10 is the most"),
        (zips.of({"a.jpg": bytes(200_000)}), "Split it"),
    ],
)
def test_a_zip_that_would_be_refused_does_not_travel(server: BatchServer, data: bytes, words: str) -> None:
    server.limits = {"zip_bytes": 100_000, "entries": 10}
    Path("bad.zip").write_bytes(data)
    result = ninefold("bad.zip")
    assert result.exit_code == 2 and words in result.stderr and not server.batches


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.zip"], "there is no nowhere.zip"),
        (["photos.zip", "-o", "results.txt"], "--format"),
        (["photos.zip", "-o", "."], "--format"),
        (["photos.zip", "-o", "nowhere/r.json"], "cannot be written"),
        (["photos.zip", "-o", "folder.json"], "is a folder"),
        (["empty"], "no files"),
    ],
)
def test_what_cannot_be_done_is_said_at_once(server: BatchServer, arguments: list[str], words: str) -> None:
    a_zip(THREE)
    Path("folder.json").mkdir()
    Path("empty/.hidden").mkdir(parents=True)
    result = ninefold(*arguments)
    assert result.exit_code == 2 and words in result.stderr.replace("\n", " ") and not server.batches


@pytest.mark.parametrize("state", ["uploaded", "preprocessing", "predicting"])
def test_a_batch_that_fails_is_its_error_in_words(server: BatchServer, state: str) -> None:
    Path("photos-results.json").write_text("an earlier one")
    server.fail_in["photos.zip"] = (state, {"code": "zip_bomb", "message": "It would unpack to 9 GB."})
    result = ninefold(a_zip(THREE))
    assert result.exit_code == 1 and "photos.zip failed: It would unpack to 9 GB." in result.stderr
    assert Path("photos-results.json").read_text() == "an earlier one"


@pytest.mark.parametrize(
    "refusal", [Refusal(409, "model_missing", "It is missing."), Refusal(409, "wrong_state", "Not now.")]
)
def test_a_prediction_that_is_refused_is_said_in_words(server: BatchServer, refusal: Refusal) -> None:
    server.refuse_predict = refusal
    result = ninefold(a_zip(THREE))
    assert result.exit_code == 1 and str(refusal) in result.stderr


def test_a_batch_that_somebody_deletes_is_said_in_words(server: BatchServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(held: object, body: object) -> tuple[int, object]:
        raise Refusal(404, "unknown_batch", "There is no such batch.")

    monkeypatch.setattr(server, "look", gone)
    result = ninefold(a_zip(THREE))
    assert result.exit_code == 1 and "no such batch" in result.stderr


# -- as a process ------------------------------------------------------------------------------------------------


def started(path: Path, url: str, here: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "cli.main", "batch", str(path.resolve()), "-o", str(here / "r.json"), "--server", url],
        cwd=ROOT,
        text=True,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"TMPDIR": str(here.parent / "temporary")},
    )


def wait_until(condition: object, process: subprocess.Popen[str], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():  # type: ignore[operator]
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"{what} did not happen within a minute"
        time.sleep(0.02)


def interrupted(process: subprocess.Popen[str]) -> tuple[str, float]:
    """What it wrote to standard error after Ctrl-C, and the seconds that it took to end."""
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    try:
        _, stderr = process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return stderr, time.monotonic() - began


def test_ctrl_c_while_the_server_works_says_what_goes_on_and_how_to_end_it(server: BatchServer, here: Path) -> None:
    server.hold = "preprocessing"
    process = started(a_zip(THREE), server.bucket, here)
    wait_until(lambda: any(held.state == "preprocessing" for held in server.batches.values()), process, "preprocessing")
    stderr, seconds = interrupted(process)
    assert process.returncode == 130 and seconds < 10
    assert "Batch B1 (photos.zip) goes on" in stderr and f"curl -X DELETE {server.bucket}/v1/batches/B1" in stderr
    assert "Traceback" not in stderr and list(server.batches) == ["B1"]
    assert sorted(path.name for path in here.iterdir()) == ["photos.zip"]


def test_ctrl_c_within_an_upload_takes_it_back(server: BatchServer, here: Path) -> None:
    server.seconds_a_part = 20
    process = started(a_folder(THREE), server.bucket, here)
    wait_until(lambda: server.putting, process, "an upload")
    stderr, seconds = interrupted(process)
    assert process.returncode == 130 and seconds < 10
    assert "goes on" not in stderr and "Traceback" not in stderr
    assert server.deleted == ["B1"] and not server.batches
    assert not list((here.parent / "temporary").iterdir())
    assert sorted(path.name for path in here.iterdir()) == ["trip"]


def test_as_a_process_it_needs_no_torch_and_no_terminal(server: BatchServer, here: Path) -> None:
    code = "import sys; from cli.main import app\ntry: app()\nfinally: print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, "batch", str(a_zip(THREE).resolve()), "-o", str(here / "r.csv")],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "False"), done.stderr
    assert "predicting: 3 of 3" in done.stderr and len((here / "r.csv").read_text().splitlines()) == 4


def test_a_large_result_is_never_whole_in_memory(server: BatchServer, here: Path) -> None:
    """As objects, these rows would take more than 100 MB; the process without them takes 70."""
    if not Path("/proc/self/status").exists():
        pytest.skip("only Linux tells a process what it held at its peak, and not what its parent held")
    server.part_size = 8 << 20
    Path("many.zip").write_bytes(zips.many(40_000, bytes(100)))
    peak = "next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1]"
    code = f"from cli.main import app\ntry: app()\nfinally: print({peak})"
    done = subprocess.run(
        [sys.executable, "-c", code, "batch", str(here / "many.zip"), "-o", str(here / "r.json")],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert len(rows("r.json")) == 40_000
    assert int(done.stdout) < 170_000, f"{done.stdout.strip()} kB"
