"""What Terraform creates on AWS, created at the start through the same API: bucket, function, job, notification."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from localcloud.aws import Aws
from localcloud.settings import Settings

FUNCTION = "ninefold-start-preprocessing"
DEAD_LETTERS = f"{FUNCTION}-dead-letters"
CODE = ("lambda.zip", "preprocess.py", "modules.zip")
_FUNCTION_TIMEOUT_SECONDS = 60
_JOB_TIMEOUT_MINUTES = 60
_PASSED_ON = ("NINEFOLD_TRANSFORM", "NINEFOLD_MAX_ZIP_MB")
_ASSUME = '{"Version": "2012-10-17", "Statement": []}'


class CodeMissing(Exception):
    """The folder of the built code lacks a file. Its text says which and what to do."""


def require_code(folder: Path) -> None:
    """Raises CodeMissing."""
    for name in CODE:
        if not (folder / name).is_file():
            raise CodeMissing(f"{folder / name} is missing: `python -m scripts.package` builds it")


def create(settings: Settings, aws: Aws) -> None:
    """Everything, on a server that has nothing yet."""
    _create_bucket(settings, aws.client("s3"))
    role = aws.client("iam").create_role(RoleName="ninefold", AssumeRolePolicyDocument=_ASSUME)["Role"]["Arn"]
    _create_job(settings, aws.client("glue"), role)
    function = _create_function(settings, aws, role)
    rules = [{"Name": "prefix", "Value": "uploads/"}, {"Name": "suffix", "Value": ".zip"}]
    uploaded = {
        "LambdaFunctionArn": function,
        "Events": ["s3:ObjectCreated:*"],
        "Filter": {"Key": {"FilterRules": rules}},
    }
    aws.client("s3").put_bucket_notification_configuration(
        Bucket=settings.bucket, NotificationConfiguration={"LambdaFunctionConfigurations": [uploaded]}
    )


def _create_bucket(settings: Settings, s3: Any) -> None:
    s3.create_bucket(Bucket=settings.bucket)
    rule = {
        "AllowedMethods": ["PUT"],
        "AllowedOrigins": list(settings.page_origins),
        "AllowedHeaders": ["*"],
        "ExposeHeaders": ["ETag"],
        "MaxAgeSeconds": 3600,
    }
    s3.put_bucket_cors(Bucket=settings.bucket, CORSConfiguration={"CORSRules": [rule]})
    for name in CODE:
        s3.upload_file(str(settings.code_dir / name), settings.bucket, f"code/{name}")


def _create_function(settings: Settings, aws: Aws, role: str) -> str:
    """Its ARN."""
    sqs = aws.client("sqs")
    queue = sqs.create_queue(QueueName=DEAD_LETTERS)["QueueUrl"]
    letters = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    passed_on = {name: os.environ[name] for name in _PASSED_ON if os.environ.get(name)}
    lambda_ = aws.client("lambda")
    arn: str = lambda_.create_function(
        FunctionName=FUNCTION,
        Runtime="python3.12",
        Role=role,
        Handler="start_preprocessing.handler",
        Timeout=_FUNCTION_TIMEOUT_SECONDS,
        MemorySize=512,
        Code={"S3Bucket": settings.bucket, "S3Key": "code/lambda.zip"},
        Environment={"Variables": {"GLUE_JOB": settings.job, **passed_on}},
        DeadLetterConfig={"TargetArn": letters},
    )["FunctionArn"]
    lambda_.add_permission(
        FunctionName=FUNCTION,
        StatementId="uploads",
        Action="lambda:InvokeFunction",
        Principal="s3.amazonaws.com",
        SourceArn=f"arn:aws:s3:::{settings.bucket}",
    )
    return arn


def _create_job(settings: Settings, glue: Any, role: str) -> None:
    code = f"s3://{settings.bucket}/code"
    glue.create_job(
        Name=settings.job,
        Role=role,
        GlueVersion="5.1",
        WorkerType="G.1X",
        NumberOfWorkers=2,
        Command={"Name": "glueetl", "PythonVersion": "3", "ScriptLocation": f"{code}/preprocess.py"},
        DefaultArguments={
            "--extra-py-files": f"{code}/modules.zip",
            # As requirements/glue.txt has them. Glue's own boto3 may not know PutObject's IfNoneMatch yet.
            "--additional-python-modules": "boto3==1.44.5,pillow==13.0.0,numpy==2.4.6",
            "--bucket": settings.bucket,
        },
        ExecutionProperty={"MaxConcurrentRuns": 2},
        MaxRetries=0,
        Timeout=_JOB_TIMEOUT_MINUTES,
    )
