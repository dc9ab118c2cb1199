"""Documents that lead somewhere: every relative link of every document is a file here, and its heading is there.

And documents that leave nothing out, where that can be seen: pictures, codes of errors, what commands are called.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.servers import ROOT

DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
LINK = re.compile(r"\]\(([^)\s]+)\)")
# An error of a request, of a picture, of a zip or its entries: status where there is one, then the code.
CODE = re.compile(
    r"(?:ApiError|BatchProblem|__init__|BadImage|BadZip|BadEntry|Problem|PredictionFailed)\(\s*(?:\d+,\s*)?\"([a-z0-9_]+)\""
)
# A pair that is returned as a reason, and those that an exception of another library becomes.
PAIR = re.compile(r"return (?:\(\s*)?\"([a-z0-9_]+)\",\s*f?\"")
SAID = ("backend", "contract")


def headings(document: Path) -> set[str]:
    """The anchors that GitHub gives to a document's headings."""
    lines = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(document: Path) -> None:
    for link in LINK.findall(document.read_text(encoding="utf-8")):
        if "://" in link or link.startswith("mailto:"):
            continue
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        assert target.exists(), f"{link} leads nowhere"
        assert not anchor or anchor in headings(target), f"{link}: there is no such heading"


def test_every_picture_is_shown_somewhere() -> None:
    shown = {
        (document.parent / link.partition("#")[0]).resolve()
        for document in DOCUMENTS
        for link in LINK.findall(document.read_text(encoding="utf-8"))
        if "://" not in link
    }
    assert [path.name for path in sorted((ROOT / "docs" / "images").iterdir()) if path not in shown] == []


def test_every_code_of_an_error_is_documented() -> None:
    sources = [path.read_text(encoding="utf-8") for folder in SAID for path in (ROOT / folder).rglob("*.py")]
    codes = {code for text in sources for pattern in (CODE, PAIR) for code in pattern.findall(text)}
    assert {
        "unknown_model",
        "wrong_crc",
        "zip_bomb",
        "truncated",
        "fetch_slow",
        "parts_missing",
        "damaged_tensors",
    } <= codes
    documented = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert sorted(code for code in codes if f"`{code}`" not in documented) == []


def test_commands_are_called_in_one_way() -> None:
    """As the README says once. What root runs, whose PATH is another, names the folder."""
    otherwise = re.compile(r"(?<!sudo )(?<!\$\()\.venv/bin/(?:ninefold|uv)\b")
    assert [path.name for path in DOCUMENTS if otherwise.search(path.read_text(encoding="utf-8"))] == []
