# The role that builds, pushes and plans, and what a plan reads: the role that applies may read that, too.

resource "aws_iam_role" "github_build" {
  count = local.github

  name                 = "${var.name}-github-build"
  assume_role_policy   = data.aws_iam_policy_document.github_assume["build"].json
  max_session_duration = 3600
}

resource "aws_iam_role_policy" "github_build" {
  count = local.github

  name   = "build-and-plan"
  role   = aws_iam_role.github_build[0].id
  policy = data.aws_iam_policy_document.github_build.json
}

data "aws_iam_policy_document" "github_build" {
  source_policy_documents = [data.aws_iam_policy_document.github_plan.json]

  statement {
    sid       = "LogInToRegistry"
    actions   = ["ecr:GetAuthorizationToken"]
    resources = ["*"]
  }

  statement {
    sid = "PushImages"

    actions = [
      "ecr:BatchCheckLayerAvailability",
      "ecr:BatchGetImage",
      "ecr:CompleteLayerUpload",
      "ecr:DescribeImages",
      "ecr:GetDownloadUrlForLayer",
      "ecr:InitiateLayerUpload",
      "ecr:PutImage",
      "ecr:UploadLayerPart",
    ]

    resources = [for repository in aws_ecr_repository.image : repository.arn]
  }

  statement {
    sid       = "PutBundles"
    actions   = ["s3:PutObject", "s3:GetObject"]
    resources = ["${aws_s3_bucket.code.arn}/host/*"]
  }

  statement {
    sid       = "KeepPlan"
    actions   = ["s3:PutObject"]
    resources = ["${local.arn}:s3:::${var.state_bucket}/plans/*"]
  }
}

# What a plan reads: how each thing is set up, no object of a batch, and of the parameters no secret. Of what other
# applications have in this account only that it is there: those calls take no resource.
data "aws_iam_policy_document" "github_plan" {
  statement {
    sid = "List"

    actions = [
      "cloudwatch:DescribeAlarms",
      "ec2:Describe*",
      "logs:DescribeLogGroups",
      "sns:GetSubscriptionAttributes",
      "ssm:DescribeParameters",
    ]

    resources = ["*"]
  }

  statement {
    sid = "ReadSettings"

    actions = [
      "budgets:ListTagsForResource",
      "budgets:ViewBudget",
      "cloudwatch:ListTagsForResource",
      "ecr:DescribeRepositories",
      "ecr:GetLifecyclePolicy",
      "ecr:ListTagsForResource",
      "events:DescribeRule",
      "events:ListTagsForResource",
      "events:ListTargetsByRule",
      "glue:GetJob",
      "glue:GetTags",
      "lambda:GetFunction",
      "lambda:GetFunctionCodeSigningConfig",
      "lambda:GetPolicy",
      "lambda:ListVersionsByFunction",
      "logs:DescribeMetricFilters",
      "logs:ListTagsForResource",
      "s3:GetAccelerateConfiguration",
      "s3:GetBucket*",
      "s3:GetEncryptionConfiguration",
      "s3:GetLifecycleConfiguration",
      "s3:GetReplicationConfiguration",
      "s3:ListBucket",
      "sns:GetTopicAttributes",
      "sns:ListTagsForResource",
      "sqs:GetQueueAttributes",
      "sqs:ListQueueTags",
      "ssm:DescribeDocument",
      "ssm:DescribeDocumentPermission",
      "ssm:GetDocument",
      "ssm:ListTagsForResource",
    ]

    resources = local.named
  }

  statement {
    sid = "ReadRoles"

    actions = [
      "iam:GetInstanceProfile",
      "iam:GetOpenIDConnectProvider",
      "iam:GetPolicy",
      "iam:GetPolicyVersion",
      "iam:GetRole",
      "iam:GetRolePolicy",
      "iam:ListAttachedRolePolicies",
      "iam:ListRolePolicies",
    ]

    resources = [
      "${local.arn}:iam::${local.account}:instance-profile/${var.name}-*",
      "${local.arn}:iam::${local.account}:oidc-provider/token.actions.githubusercontent.com",
      "${local.arn}:iam::${local.account}:policy/${var.name}-*",
      "${local.arn}:iam::${local.account}:role/${var.name}-*",
    ]
  }

  statement {
    sid       = "ListState"
    actions   = ["s3:ListBucket"]
    resources = ["${local.arn}:s3:::${var.state_bucket}"]
  }

  statement {
    sid       = "ReadCode"
    actions   = ["s3:GetObject", "s3:GetObjectTagging"]
    resources = ["${aws_s3_bucket.code.arn}/code/*"]
  }

  statement {
    sid     = "ReadParameters"
    actions = ["ssm:GetParameter"]

    resources = [
      aws_ssm_parameter.backend.arn,
      aws_ssm_parameter.runs.arn,
      aws_ssm_parameter.settings.arn,
      "${local.arn}:ssm:${var.region}::parameter/aws/service/*",
    ]
  }

  statement {
    sid       = "UseState"
    actions   = ["s3:GetObject"]
    resources = ["${local.arn}:s3:::${var.state_bucket}/ninefold.tfstate"]
  }

  statement {
    sid       = "LockState"
    actions   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
    resources = ["${local.arn}:s3:::${var.state_bucket}/ninefold.tfstate.tflock"]
  }
}
