# What each part may do: as much as its code calls, on the things that are here, and nothing else.

locals {
  assumed_by = {
    function = "lambda.amazonaws.com"
    job      = "glue.amazonaws.com"
    host     = "ec2.amazonaws.com"
  }
}

data "aws_iam_policy_document" "assume" {
  for_each = local.assumed_by

  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = [each.value]
    }
  }
}

# -- the Lambda: lambda/start_preprocessing.py ---------------------------------------------------------------------

resource "aws_iam_role" "function" {
  name                 = "${var.name}-function"
  assume_role_policy   = data.aws_iam_policy_document.assume["function"].json
  permissions_boundary = aws_iam_policy.boundary.arn
}

resource "aws_iam_role_policy" "function" {
  name   = "function"
  role   = aws_iam_role.function.id
  policy = data.aws_iam_policy_document.function.json
}

data "aws_iam_policy_document" "function" {
  statement {
    sid       = "ReadUploads"
    actions   = ["s3:GetObject"]
    resources = ["${aws_s3_bucket.data.arn}/uploads/*"]
  }

  statement {
    sid       = "ClaimBatches"
    actions   = ["s3:GetObject", "s3:PutObject"]
    resources = ["${aws_s3_bucket.data.arn}/batches/*"]
  }

  statement {
    sid       = "ListBatches" # and learn that a key is absent: without it S3 answers 403 where it means 404
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.data.arn]

    condition {
      test     = "StringLike"
      variable = "s3:prefix"
      values   = ["batches/*", "uploads/*"]
    }
  }

  statement {
    sid       = "StartRuns"
    actions   = ["glue:StartJobRun", "glue:GetJobRuns"]
    resources = [aws_glue_job.preprocess.arn]
  }

  statement {
    sid       = "SendDeadLetters"
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.dead_letters.arn]
  }

  statement {
    sid       = "WriteLog"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.function.arn}:*"]
  }
}

# -- the Glue job: glue_jobs/preprocess.py -------------------------------------------------------------------------

resource "aws_iam_role" "job" {
  name                 = "${var.name}-job"
  assume_role_policy   = data.aws_iam_policy_document.assume["job"].json
  permissions_boundary = aws_iam_policy.boundary.arn
}

resource "aws_iam_role_policy" "job" {
  name   = "job"
  role   = aws_iam_role.job.id
  policy = data.aws_iam_policy_document.job.json
}

data "aws_iam_policy_document" "job" {
  statement {
    sid       = "ReadCodeAndUploads"
    actions   = ["s3:GetObject"]
    resources = ["${aws_s3_bucket.code.arn}/code/*", "${aws_s3_bucket.data.arn}/uploads/*"]
  }

  statement {
    sid       = "WriteShards"
    actions   = ["s3:GetObject", "s3:PutObject", "s3:PutObjectTagging"]
    resources = ["${aws_s3_bucket.data.arn}/batches/*"]
  }

  statement {
    sid       = "ListBatches"
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.data.arn]

    condition {
      test     = "StringLike"
      variable = "s3:prefix"
      values   = ["batches/*", "uploads/*"]
    }
  }

  statement {
    sid       = "WriteLog" # Glue asks for the group as well, although it is there
    actions   = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"]
    resources = [for group in aws_cloudwatch_log_group.job : "${group.arn}:*"]
  }

  statement {
    sid       = "WriteMetrics"
    actions   = ["cloudwatch:PutMetricData"]
    resources = ["*"]

    condition {
      test     = "StringEquals"
      variable = "cloudwatch:namespace"
      values   = ["Glue"]
    }
  }
}

# -- the host: the server's part is what backend/batches calls -----------------------------------------------------

resource "aws_iam_role" "host" {
  name                 = "${var.name}-host"
  assume_role_policy   = data.aws_iam_policy_document.assume["host"].json
  permissions_boundary = aws_iam_policy.boundary.arn
}

resource "aws_iam_instance_profile" "host" {
  name = "${var.name}-host"
  role = aws_iam_role.host.name
}

resource "aws_iam_role_policy" "host" {
  name   = "host"
  role   = aws_iam_role.host.id
  policy = data.aws_iam_policy_document.host.json
}

data "aws_iam_policy_document" "host" {
  statement {
    sid       = "KeepBatches"
    actions   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
    resources = ["${aws_s3_bucket.data.arn}/uploads/*", "${aws_s3_bucket.data.arn}/batches/*"]
  }

  statement {
    sid       = "ReadNotice"
    actions   = ["s3:GetObject"]
    resources = ["${aws_s3_bucket.data.arn}/notice.json"]
  }

  statement {
    sid       = "ListData"
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.data.arn]
  }

  statement {
    sid       = "StartRuns"
    actions   = ["glue:StartJobRun", "glue:GetJobRun", "glue:BatchStopJobRun"]
    resources = [aws_glue_job.preprocess.arn]
  }

  statement {
    sid       = "ReadBundles"
    actions   = ["s3:GetObject"]
    resources = ["${aws_s3_bucket.code.arn}/host/*"]
  }

  statement {
    sid       = "LogInToRegistry" # this one call has no resource
    actions   = ["ecr:GetAuthorizationToken"]
    resources = ["*"]
  }

  statement {
    sid       = "PullImages"
    actions   = ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability"]
    resources = [for repository in aws_ecr_repository.image : repository.arn]
  }

  statement {
    sid       = "ReadSecrets"
    actions   = ["ssm:GetParameter"]
    resources = ["${local.arn}:ssm:${var.region}:${local.account}:parameter${local.secrets}/*"]
  }

  # Secrets are encrypted by the account's key for SSM. Which id it has is seen in the account alone.
  statement {
    sid       = "DecryptSecrets"
    actions   = ["kms:Decrypt"]
    resources = ["${local.arn}:kms:${var.region}:${local.account}:key/*"]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["ssm.${var.region}.amazonaws.com"]
    }
  }

  statement {
    sid       = "ReadSettings"
    actions   = ["ssm:GetParameter"]
    resources = [aws_ssm_parameter.settings.arn, aws_ssm_parameter.backend.arn]
  }

  statement {
    sid       = "NoteWhatRuns"
    actions   = ["ssm:GetParameter", "ssm:PutParameter"]
    resources = [aws_ssm_parameter.runs.arn]
  }

  statement {
    sid       = "WriteLogs"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = [for group in aws_cloudwatch_log_group.service : "${group.arn}:*"]
  }

  statement {
    sid       = "ReportReady"
    actions   = ["cloudwatch:PutMetricData"]
    resources = ["*"]

    condition {
      test     = "StringEquals"
      variable = "cloudwatch:namespace"
      values   = [var.name]
    }
  }

  # What SSM's agent needs to be sent commands. AWS's own AmazonSSMManagedInstanceCore would let it read every parameter.
  statement {
    sid = "TakeCommands"

    actions = [
      "ec2messages:AcknowledgeMessage",
      "ec2messages:DeleteMessage",
      "ec2messages:FailMessage",
      "ec2messages:GetEndpoint",
      "ec2messages:GetMessages",
      "ec2messages:SendReply",
      "ssm:ListAssociations",
      "ssm:ListInstanceAssociations",
      "ssm:UpdateInstanceInformation",
      "ssmmessages:CreateControlChannel",
      "ssmmessages:CreateDataChannel",
      "ssmmessages:OpenControlChannel",
      "ssmmessages:OpenDataChannel",
    ]

    resources = ["*"]
  }
}

# -- the most that any of these roles can ever be given, whoever writes its policy ---------------------------------

resource "aws_iam_policy" "boundary" {
  name   = "${var.name}-boundary"
  policy = data.aws_iam_policy_document.boundary.json
}

data "aws_iam_policy_document" "boundary" {
  statement {
    sid = "Data"

    actions = [
      "cloudwatch:PutMetricData",
      "ec2messages:*",
      "ecr:BatchCheckLayerAvailability",
      "ecr:BatchGetImage",
      "ecr:GetAuthorizationToken",
      "ecr:GetDownloadUrlForLayer",
      "glue:BatchStopJobRun",
      "glue:GetJobRun",
      "glue:GetJobRuns",
      "glue:StartJobRun",
      "logs:CreateLogGroup",
      "logs:CreateLogStream",
      "logs:PutLogEvents",
      "sqs:SendMessage",
      "ssm:ListAssociations",
      "ssm:ListInstanceAssociations",
      "ssm:UpdateInstanceInformation",
      "ssmmessages:*",
    ]

    resources = ["*"]
  }

  statement {
    sid     = "Objects"
    actions = ["s3:*Object", "s3:PutObjectTagging", "s3:ListBucket", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]

    resources = [
      "${local.arn}:s3:::${var.name}-data-${local.account}",
      "${local.arn}:s3:::${var.name}-data-${local.account}/*",
      "${local.arn}:s3:::${var.name}-code-${local.account}/*",
    ]
  }

  statement {
    sid       = "Parameters"
    actions   = ["ssm:GetParameter", "ssm:PutParameter"]
    resources = ["${local.arn}:ssm:${var.region}:${local.account}:parameter/${var.name}/*"]
  }

  statement {
    sid       = "Secrets"
    actions   = ["kms:Decrypt"]
    resources = ["${local.arn}:kms:${var.region}:${local.account}:key/*"]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["ssm.${var.region}.amazonaws.com"]
    }
  }
}
