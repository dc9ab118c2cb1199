"""The job that classifies on the executors: a zip, or all pictures under a prefix, in S3, to rows in S3.

    spark-submit --py-files modules.zip predict.py --bucket B --model-dir M/ --output O/ --key KEY --etag ETAG
    spark-submit --py-files modules.zip predict.py --bucket B --model-dir M/ --output O/ --prefix P/

The driver cuts the zip's directory, or the prefix's listing, into parts; each is one Spark task: bytes in, `to_pixels`,
the classifier on one core, rows out. Under O/ lie source.json (what is predicted, by what: a run with another source
or model is refused), part-NNNNN.jsonl with the rows that the server would write, and done.json with the counts, last.
Whatever is there already is not made again, and two runs at once write the same bytes on processors of one kind.
Driver and executors need boto3, numpy, Pillow and OpenVINO. The last line of a failed run says why, in words.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from contract.batches import ResultKeys, dump
from contract.shards import Counts
from contract.ziplist import BadZip
from glue_jobs.model import Unfit, find_model
from glue_jobs.predictions import Job, Prefix, Zip, perform
from glue_jobs.run import Arguments, JobFailed, Stopwatch, perform_all, summary
from glue_jobs.s3 import put_once, s3_client, whole_body
from glue_jobs.source import SourceLost

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True)
class Request:
    """What the run was asked for. `model_dir` and `output` end in a slash."""

    source: Zip | Prefix
    model_dir: str
    output: str

    @property
    def source_key(self) -> str:
        """What the rows under `output` are of."""
        return f"{self.output}source.json"


def read_arguments(argv: Sequence[str]) -> Request:
    """Glue adds arguments of its own, which are passed over. Raises JobFailed."""
    parser = Arguments(allow_abbrev=False)
    for name in ("--bucket", "--model-dir", "--output"):
        parser.add_argument(name, required=True)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--key")
    which.add_argument("--prefix")
    parser.add_argument("--etag", default="")
    given, _ = parser.parse_known_args(argv)
    model_dir, output = (f"{path.strip('/')}/" for path in (given.model_dir, given.output))
    if given.key:
        if not given.etag:
            raise JobFailed("--key needs --etag: which version of the zip is meant.")
        return Request(Zip(given.bucket, given.key, given.etag.strip('"')), model_dir, output)
    prefix = f"{given.prefix.strip('/')}/"
    if output.startswith(prefix) or prefix == "/":
        raise JobFailed(f"--output {output} lies among the pictures under --prefix {prefix}: choose another place.")
    return Request(Prefix(given.bucket, prefix), model_dir, output)


def predict(request: Request, watch: Stopwatch) -> dict[str, Any]:
    """Everything. Returns the summary for the log; raises JobFailed, BadZip, SourceLost, Unfit."""
    s3, bucket, output = s3_client(), request.source.bucket, ResultKeys(request.output)
    with watch.stage("model"), TemporaryDirectory() as folder:
        place, card = find_model(s3, bucket, request.model_dir, Path(folder))
    variant = {"model": card.model, "precision": card.precision}
    with watch.stage("plan"):
        about, works = request.source.parts(s3)
        if not works:
            raise JobFailed(f"There is nothing under {about['prefix']} in the bucket {bucket}.")
        _settle(s3, request, {"source": about, **variant, "card_sha256": place.card_sha256})
        done = _read(s3, bucket, output.done)
    if done:
        counts, reports = Counts(**json.loads(done)["counts"]), []
    else:
        job: Job[Any] = Job(request.source, place, output)
        failed = "A part of the pictures could not be predicted."
        reports = perform_all("ninefold-predict", partial(perform, job), works, watch, failed)
        counts = sum((report.counts for report in reports), Counts(0, 0, 0))
        put_once(s3, bucket, output.done, dump({**variant, "counts": asdict(counts), "shards": len(works)}))
    made = [report for report in reports if not report.kept]
    parts = {"made": len(made), "kept": len(works) - len(made)}
    return summary(counts, made, watch) | variant | {"parts": parts, "output": request.output}


def _settle(s3: S3Client, request: Request, about: dict[str, Any]) -> None:
    """Says what the rows under the output are of; refuses to mix them with those of something else."""
    bucket, body = request.source.bucket, dump(about)
    # In this order: a run puts its source before anything else.
    there = s3.list_objects_v2(Bucket=bucket, Prefix=request.output, MaxKeys=1).get("Contents")
    if there and _read(s3, bucket, request.source_key) is None:
        raise JobFailed(f"Under {request.output} lies something that no run of this job made. Choose another --output.")
    if not put_once(s3, bucket, request.source_key, body) and _read(s3, bucket, request.source_key) != body:
        raise JobFailed(
            f"Under {request.output} lie predictions of something else: another source, one that changed, or another "
            f"model ({request.source_key} says which). Choose another --output."
        )


def _read(s3: S3Client, bucket: str, key: str) -> bytes | None:
    try:
        return whole_body(lambda: s3.get_object(Bucket=bucket, Key=key))
    except s3.exceptions.NoSuchKey:
        return None


def main(argv: Sequence[str]) -> None:
    """Runs the job. Raises JobFailed, with the message as its last line."""
    watch = Stopwatch()
    request = read_arguments(argv)
    try:
        done = predict(request, watch)
    except BadZip as refusal:
        raise JobFailed(refusal.message) from None
    except (SourceLost, Unfit) as lost:
        raise JobFailed(str(lost)) from None
    print(json.dumps(done, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
