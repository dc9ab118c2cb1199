"""One batch from upload to result by its id: whoever searches the logs for it finds each step."""

from __future__ import annotations

import json
from pathlib import Path

from tests import batches, pictures, zips
from tests.localcloud.clouds import BUCKET, JOB
from tests.servers import process

PHOTOS = zips.of({"a.jpg": pictures.jpeg((64, 48)), "b.txt": b"words"})
LOOKS_OFTEN = "import sys; sys.path.insert(0, ''); import backend.batches.worker as w; w._LOOK_SECONDS = 0.5"


def test_the_servers_lines_about_a_batch_have_its_id(models_dir: Path) -> None:
    with batches.storage() as cloud:
        env = {"NINEFOLD_BUCKET": BUCKET, "NINEFOLD_S3_ENDPOINT": cloud.url, "NINEFOLD_GLUE_JOB": JOB}
        with process(models_dir, first=LOOKS_OFTEN, NINEFOLD_MODEL="resnet18-seeded", **env, **cloud.env) as server:
            server.wait_ready()
            batch = batches.upload(server, PHOTOS)
            batches.preprocess(cloud, batch)
            assert batches.predict(server, batch).status_code == 202
            batches.wait_for(server, batch, "done")
            assert len(batches.rows(server, batch)) == 2
            batches.within(30, lambda: server.metric('ninefold_batches{state="done"}') == 1)
            assert server.client.delete(f"/v1/batches/{batch}").status_code == 204
            assert server.metric('ninefold_batch_predictions_total{outcome="done"}') == 1
            answers = 'ninefold_answer_confidence_count{kind="batch",model="resnet18-seeded",precision="fp32"}'
            assert server.metric(answers) == 1
            batches.within(30, lambda: server.metric('ninefold_batches{state="done"}') == 0)
            said = server.stop()
    found = [json.loads(line) for line in said.splitlines() if batch in line]
    steps = [line["event"] for line in found if line.get("batch") == batch]
    assert [step for step in steps if step in {"uploaded", "predicting", "predicted", "deleted"}] == [
        "uploaded",
        "predicting",
        "predicted",
        "deleted",
    ]
    asked = [(line["method"], line["path"].removeprefix(f"/v1/batches/{batch}")) for line in found if "path" in line]
    assert {("POST", "/upload/complete"), ("POST", "/predict"), ("GET", "/results"), ("DELETE", "")} <= set(asked)
