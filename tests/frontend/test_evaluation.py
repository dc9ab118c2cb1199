from __future__ import annotations

from datetime import UTC, datetime

import pytest

from frontend.api import Api, Busy, Refused, VariantName
from frontend.evaluation import NotMeasured, Share, last_evaluation
from tests.frontend.evaluations import evaluation, variant
from tests.frontend.fake_server import FakeServer, Reply


def test_it_is_typed(server: FakeServer) -> None:
    server.evaluation = evaluation()
    found = last_evaluation(Api(server.url))
    assert found is not None
    assert (found.made_at, found.data, found.images) == (datetime(2025, 3, 4, 10, tzinfo=UTC), "holiday", 256)
    fp32, int8 = found.variants
    assert (fp32.name, fp32.variant, fp32.agreement, fp32.time_ratio) == (
        "Small fp32",
        VariantName("small", "fp32"),
        None,
        None,
    )
    assert (int8.agreement, int8.time_ratio) == (Share(0.941, 0.921, 0.961), 0.5)
    assert found.missing == (NotMeasured("Large", "it has not been built."),)


def test_none_yet_is_no_error_but_anything_else_is(server: FakeServer) -> None:
    assert last_evaluation(Api(server.url)) is None
    damaged = {"error": {"code": "evaluation_damaged", "message": "evaluation.json cannot be read."}}
    server.prepared["/v1/evaluation"] = [
        Reply(503, damaged),
        Reply(404, {"error": {"code": "not_found", "message": "No."}}),
    ]
    with pytest.raises(Busy, match="cannot be read"):
        last_evaluation(Api(server.url))
    with pytest.raises(Refused, match="No"):
        last_evaluation(Api(server.url))


@pytest.mark.parametrize(
    "body",
    [
        {},
        {key: value for key, value in evaluation().items() if key != "machine"},
        evaluation(variant(top1=None)),
        evaluation(variant(milliseconds="soon")),
        evaluation(made_at="yesterday"),
    ],
)
def test_what_this_page_does_not_understand_is_a_refusal(server: FakeServer, body: dict[str, object]) -> None:
    server.prepared["/v1/evaluation"] = [Reply(200, body)]
    with pytest.raises(Refused, match="could not be read"):
        last_evaluation(Api(server.url))
