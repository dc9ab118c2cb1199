from __future__ import annotations

import csv
import io
import json

import pytest

from frontend.api import Answer, Prediction, Problem, VariantName
from frontend.downloads import as_csv, as_json

GOOD = Answer("cat.jpg", (Prediction("tabby, tabby cat", 281, 0.75), Prediction("lynx", 287, 0.1)))
BAD = Answer("note.jpg", problem=Problem("corrupt", "The picture is damaged."))


def rows(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


def test_json_has_the_shape_of_the_api() -> None:
    assert json.loads(as_json(VariantName("small", "fp32"), [GOOD, BAD], 1)) == {
        "model": "small",
        "precision": "fp32",
        "results": [
            {
                "name": "cat.jpg",
                "status": "ok",
                "predictions": [{"label": "tabby, tabby cat", "index": 281, "probability": 0.75}],
            },
            {"name": "note.jpg", "status": "error", "error": {"code": "corrupt", "message": "The picture is damaged."}},
        ],
    }


def test_csv_has_a_row_a_picture_and_three_columns_a_rank() -> None:
    assert rows(as_csv([GOOD, BAD], 2)) == [
        ["name", "status", "label1", "index1", "probability1", "label2", "index2", "probability2", "code", "message"],
        ["cat.jpg", "ok", "tabby, tabby cat", "281", "0.75", "lynx", "287", "0.1", "", ""],
        ["note.jpg", "error", "", "", "", "", "", "", "corrupt", "The picture is damaged."],
    ]


def test_csv_pads_where_there_are_fewer_predictions_than_asked_for() -> None:
    assert {len(row) for row in rows(as_csv([GOOD, BAD], 10))} == {2 + 30 + 2}


@pytest.mark.parametrize("name", ["=HYPERLINK(1)", "+1", "-1", "@SUM(1)", "\t=1", " =1", "\r=1"])
def test_no_cell_starts_a_formula(name: str) -> None:
    cell = rows(as_csv([Answer(name, problem=Problem("x", name))], 1))[1]
    assert cell[0] == cell[-1] == f"'{name}"


def test_quotes_commas_and_line_breaks_survive() -> None:
    name = 'a "b", c\nd 🦜'
    assert rows(as_csv([Answer(name, problem=Problem("x", "y"))], 1))[1][0] == name
