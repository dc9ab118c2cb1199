"""Canaries: moto's own code under each of our changes is the code that the change was written for.

When one of these fails, moto has another version. Read what it does now at the named place, put the change right in
localcloud/*_patches.py, see that the tests beside this one pass, then put the new fingerprint here: the failure tells.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FINGERPRINTS = {
    "moto.awslambda.models:LambdaFunction.__init__": "70a285222b4a",
    "moto.awslambda.models:LambdaFunction.get_configuration": "803fb04bffde",
    "moto.awslambda.models:LambdaFunction.invoke": "dadc324f30ae",
    "moto.awslambda.models:LambdaFunction.update_configuration": "eca1cdec066f",
    "moto.awslambda.responses:LambdaResponse.invoke": "8f68f0bf023a",
    "moto.core.common_models:BaseModel.__new__": "08cf0ef20e88",
    "moto.core.responses:BaseResponse.setup_class": "0045fc77574a",
    "moto.core.utils:convert_to_flask_response.__call__": "2c82766d0590",
    "moto.glue.models:FakeJob.get_job_run": "d29c8f5c3017",
    "moto.glue.models:FakeJob.get_job_runs": "efe2bb07ddc1",
    "moto.glue.models:FakeJob.start_job_run": "eacd4b77429e",
    "moto.glue.models:FakeJobRun": "7825b0e9ca2f",
    "moto.moto_api._internal.managed_state_model:ManagedState": "3564c9f1675b",
    "moto.moto_server.werkzeug_app:DomainDispatcherApplication.get_application": "0ff6939685bd",
    "moto.moto_server.werkzeug_app:create_backend_app": "a317751ebd1c",
    "moto.s3.models:FakeBucket.get_permission": "7571412a3495",
    "moto.s3.models:FakeKey.__init__": "cd9d1347667a",
    "moto.s3.models:FakeKey.dispose": "3e18a93bddaa",
    "moto.s3.models:FakeKey.etag.fget": "aa3062e82e08",
    "moto.s3.models:FakeKey.value.fget": "5e9a53c3d82c",
    "moto.s3.models:FakeKey.value.fset": "519ac4d9ad6a",
    "moto.s3.models:FakeMultipart.complete": "a5cd01f2f2f2",
    "moto.s3.models:FakeMultipart.set_part": "87e31635d97f",
    "moto.s3.models:S3Backend.complete_multipart_upload": "f16c9a08e5db",
    "moto.s3.models:S3Backend.copy_object": "e63e9144071c",
    "moto.s3.models:S3Backend.delete_object": "5c1677b52971",
    "moto.s3.models:S3Backend.delete_objects": "22b7eca436d5",
    "moto.s3.models:S3Backend.put_object": "db803f2da9d7",
    "moto.s3.models:S3Backend.upload_part": "6a8a2763f53d",
    "moto.s3.models:S3Backend.upload_part_copy": "f6f876edf982",
    "moto.s3.notifications:_invoke_awslambda": "3e321d949008",
    "moto.s3.notifications:send_event": "da8a7c7c6f2b",
    "moto.s3.responses:S3Response._get_key": "f196655b011d",
    "moto.s3.responses:S3Response._handle_range_header": "d6480a54a4df",
    "moto.s3.responses:S3Response._key_response": "eb67586ff76b",
    "moto.s3.responses:S3Response._key_response_post": "d6ab8e66ad85",
    "moto.s3.responses:S3Response._response_options": "d7de45a2ef03",
    "moto.s3.responses:S3Response._send_response": "1637e0b7d5ee",
    "moto.s3.responses:S3Response.get_object": "e9731229dec1",
    "moto.s3.responses:S3Response.key_response": "482dd528b49e",
    "moto.s3.responses:S3Response.put_object": "992229be920b",
    "moto.s3.utils:_VersionedKeyStore": "6592286b65e1",
}


def at(place: str) -> Any:
    module, _, path = place.partition(":")
    found: Any = importlib.import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    return found


def test_moto_is_the_version_that_the_changes_were_written_for() -> None:
    pins = (ROOT / "requirements" / "localcloud.txt").read_text().splitlines()
    (pin,) = [line for line in pins if line.startswith("moto[")]
    assert pin.endswith("==5.2.5")
    assert version("moto") == "5.2.5"


@pytest.mark.parametrize(("place", "fingerprint"), FINGERPRINTS.items())
def test_motos_own_code_under_our_changes_is_the_same(place: str, fingerprint: str) -> None:
    source = inspect.getsource(at(place))
    assert hashlib.sha256(source.encode()).hexdigest()[:12] == fingerprint, f"moto has changed {place}:\n{source}"


def test_glue_in_moto_still_cannot_stop_runs() -> None:
    assert not hasattr(at("moto.glue.responses:GlueResponse"), "batch_stop_job_run")


def test_what_is_set_in_moto_from_outside_is_still_what_moto_asks() -> None:
    assert callable(at("moto.s3.models:get_s3_default_key_buffer_size"))
    assert at("moto.moto_server.werkzeug_app:DISABLE_GLOBAL_CORS") is False
    assert at("moto.s3.models:FakeKey").instances_tracked == []
