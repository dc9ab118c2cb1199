"""The drift figure: its arithmetic, what it says of streams that stay and streams that change, and its file."""

import json
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from backend.answers import Answers
from backend.drift import REFERENCE_ANSWERS, WINDOW_ANSWERS, Bins, Drift, References, bins_of, stability_index
from inference.artefacts import Variant
from inference.classifier import Prediction

ALARM = 0.25
VARIANT = Variant("resnet18", "int8")
Stream = list[tuple[int, float]]


def mixed(rng: np.random.Generator, count: int) -> Stream:
    """Indices as uneven as people's pictures are, and confident answers."""
    shares = np.linspace(1, 6, 1000)
    return list(zip(rng.choice(1000, count, p=shares / shares.sum()).tolist(), rng.beta(4, 2, count), strict=True))


def of_one_kind(rng: np.random.Generator, count: int) -> Stream:
    """Dogs alone, and as confident answers."""
    return list(zip(rng.integers(151, 269, count).tolist(), rng.beta(4, 2, count), strict=True))


def unsure(rng: np.random.Generator, count: int) -> Stream:
    """The same classes, less surely."""
    return [(index, probability / 3) for index, probability in mixed(rng, count)]


def feed(drift: Drift, stream: Stream) -> dict[str, float]:
    for index, probability in stream:
        drift.add(bins_of(index, probability))
    return drift.figures()


def learnt(seed: int = 0) -> tuple[Drift, np.random.Generator]:
    """One that knows the mixed stream, and what draws on."""
    rng, drift = np.random.default_rng(seed), Drift()
    feed(drift, mixed(np.random.default_rng(seed + 1), REFERENCE_ANSWERS))
    return drift, rng


def test_the_index_is_that_of_its_formula() -> None:
    window, reference = [300, 100, 0, 0], [500, 400, 100, 0]
    p, q = (np.array(counts) + 0.5 for counts in (window, reference))
    p, q = p / 402, q / 1002
    chance = 2 * (1 / 400 + 1 / 1000)  # of three bins: nothing is known of the one that is empty in both
    assert stability_index(window, reference) == pytest.approx(float(((p - q) * np.log(p / q)).sum()) - chance)
    assert stability_index([30, 60, 10], [300, 600, 100]) == 0
    with pytest.raises(ValueError, match="nothing"):
        stability_index([0, 0], [1, 2])


@pytest.mark.parametrize(
    ("index", "probability", "expected"),
    [(0, 0.0, (0, 0)), (49, 0.1, (0, 0)), (50, 0.1001, (1, 1)), (999, 1.0, (19, 9)), (1500, 1.0000001, (19, 9))],
)
def test_every_answer_has_its_bins(index: int, probability: float, expected: tuple[int, int]) -> None:
    assert bins_of(index, probability) == expected


def test_two_samples_of_one_stream_are_as_before() -> None:
    """What is taken off is what chance adds: over many windows little is left, and no window comes near the alarm."""
    shares = np.linspace(1, 6, 20) / np.linspace(1, 6, 20).sum()
    rng = np.random.default_rng(7)
    raw, figures = [], []
    for _ in range(400):
        window, reference = rng.multinomial(WINDOW_ANSWERS, shares), rng.multinomial(REFERENCE_ANSWERS, shares)
        figures.append(stability_index(window.tolist(), reference.tolist()))
        p, q = window / window.sum(), reference / reference.sum()
        raw.append(float(((p - q) * np.log(p / q)).sum()))
    chance = 19 * (1 / WINDOW_ANSWERS + 1 / REFERENCE_ANSWERS)
    assert np.mean(raw) == pytest.approx(chance, rel=0.05)
    assert np.mean(figures) < 0.01 and max(figures) < 0.1


def test_a_stream_of_another_kind_passes_the_alarm_and_comes_back() -> None:
    drift, rng = learnt()
    before = feed(drift, mixed(np.random.default_rng(5), WINDOW_ANSWERS))
    assert before["labels"] < 0.1 and before["confidence"] < 0.1
    during = feed(drift, of_one_kind(rng, WINDOW_ANSWERS))
    assert during["labels"] > 1 and during["confidence"] < 0.1, "other classes, as sure as before"
    after = feed(drift, mixed(np.random.default_rng(6), WINDOW_ANSWERS))
    assert after["labels"] < 0.1


def test_answers_that_are_less_sure_pass_the_alarm_of_confidence_alone() -> None:
    drift, _ = learnt()
    figures = feed(drift, unsure(np.random.default_rng(3), WINDOW_ANSWERS))
    assert figures["confidence"] > ALARM and figures["labels"] < 0.1


def test_there_is_no_figure_before_there_are_enough_answers() -> None:
    drift, rng = learnt()
    assert feed(drift, of_one_kind(rng, WINDOW_ANSWERS - 1)) == {}
    assert set(feed(drift, of_one_kind(rng, 1))) == {"labels", "confidence"}


def test_a_long_stream_takes_no_more_memory_and_the_window_counts_its_last_answers() -> None:
    drift, rng = learnt()
    stream = [*of_one_kind(rng, 1234), *mixed(rng, 777)]
    feed(drift, stream)
    expected = Bins()
    for index, probability in stream[-WINDOW_ANSWERS:]:
        expected.add(bins_of(index, probability))
    assert drift.window == expected and len(drift._last) == WINDOW_ANSWERS


def test_a_reference_outlives_the_process(tmp_path: Path) -> None:
    path = tmp_path / "reference.json"
    first = Answers(References(path))
    for index, probability in mixed(np.random.default_rng(0), REFERENCE_ANSWERS):
        first.note(VARIANT, Prediction("", index, probability))
    after_restart = References(path).of(str(VARIANT))
    assert after_restart is not None and after_restart.answers == REFERENCE_ANSWERS
    second = Answers(References(path))
    for index, probability in of_one_kind(np.random.default_rng(1), WINDOW_ANSWERS):
        second.note(VARIANT, Prediction("", index, probability))
    figures = [
        sample for metric in second.collect() for sample in metric.samples if sample.name == "ninefold_drift_psi"
    ]
    assert {sample.labels["of"]: sample.value > ALARM for sample in figures} == {"labels": True, "confidence": False}
    # What another server learnt meanwhile stays, and of two references of one variant the first.
    References(path).keep("other fp32", Bins([1] + [0] * 19, [1] + [0] * 9))
    first._references.keep(str(VARIANT), Bins([1] + [0] * 19, [1] + [0] * 9))
    assert References(path).of(str(VARIANT)) == after_restart and References(path).of("other fp32") is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"format": 2, "variants": {}}',
        '{"format": 1, "variants": {"a b": {"labels": [1], "confidence": [1]}}}',
    ],
)
def test_a_damaged_reference_is_said_and_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "reference.json"
    path.write_text(text, encoding="utf-8")
    with capture_logs() as lines:
        references = References(path)
        references.keep("a b", Bins([1] + [0] * 19, [1] + [0] * 9))
    assert references.of("a b") is None and path.read_text(encoding="utf-8") == text
    assert [line["log_level"] for line in lines if "unreadable" in line["event"]][:1] == ["error"]


def test_a_reference_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    references = References(tmp_path / "missing" / "reference.json")
    with capture_logs() as lines:
        references.keep("a b", Bins([1] + [0] * 19, [1] + [0] * 9))
    assert [line["event"] for line in lines] == ["drift reference not written"]


def test_a_zip_of_one_kind_is_counted_and_does_not_drift(tmp_path: Path) -> None:
    answers = Answers(References(None))
    answers.note(VARIANT, Prediction("", 3, 0.95))
    answers.note_rows(VARIANT, [(151, 0.5)] * 5000)
    values = {
        (sample.name, sample.labels.get("kind"), sample.labels.get("labels"), sample.labels.get("of")): sample.value
        for metric in answers.collect()
        for sample in metric.samples
    }
    assert values["ninefold_answers_total", "batch", "150-199", None] == 5000
    assert values["ninefold_answers_total", "interactive", "0-49", None] == 1
    assert values["ninefold_answer_confidence_sum", "batch", None, None] == 2500
    assert values["ninefold_drift_answers", None, None, "reference"] == 1
    assert not [key for key in values if key[0] == "ninefold_drift_psi"]


def test_the_file_is_what_a_person_can_read(tmp_path: Path) -> None:
    path = tmp_path / "reference.json"
    References(path).keep("resnet18 int8", Bins([10] + [0] * 19, [0] * 9 + [10]))
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["variants"]["resnet18 int8"]["labels"][0] == 10 and not list(tmp_path.glob(".*"))
