# GitHub's workflows have no keys: a job's token, whose subject names repository and environment, gets it one of two roles.
# Who builds and plans cannot change anything that runs; who applies can, and its environment asks a person first.

locals {
  github = var.github_subject == "" ? 0 : 1
}

resource "aws_iam_openid_connect_provider" "github" {
  count = local.github

  url            = "https://token.actions.githubusercontent.com"
  client_id_list = ["sts.amazonaws.com"]
}

data "aws_iam_policy_document" "github_assume" {
  for_each = local.github == 1 ? toset(["build", "production"]) : toset([])

  statement {
    actions = ["sts:AssumeRoleWithWebIdentity"]

    principals {
      type        = "Federated"
      identifiers = [aws_iam_openid_connect_provider.github[0].arn]
    }

    condition {
      test     = "StringEquals"
      variable = "token.actions.githubusercontent.com:aud"
      values   = ["sts.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "token.actions.githubusercontent.com:sub"
      values   = ["${var.github_subject}:environment:${each.key}"]
    }
  }
}

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

# What a plan reads: how each thing is set up, no object of a batch, and of the parameters no secret.
data "aws_iam_policy_document" "github_plan" {
  statement {
    sid = "ReadSettings"

    actions = [
      "budgets:ListTagsForResource",
      "budgets:ViewBudget",
      "cloudwatch:DescribeAlarms",
      "cloudwatch:ListTagsForResource",
      "ec2:Describe*",
      "ecr:DescribeRepositories",
      "ecr:GetLifecyclePolicy",
      "ecr:ListTagsForResource",
      "events:DescribeRule",
      "events:ListTagsForResource",
      "events:ListTargetsByRule",
      "glue:GetJob",
      "glue:GetTags",
      "iam:GetInstanceProfile",
      "iam:GetOpenIDConnectProvider",
      "iam:GetPolicy",
      "iam:GetPolicyVersion",
      "iam:GetRole",
      "iam:GetRolePolicy",
      "iam:ListAttachedRolePolicies",
      "iam:ListRolePolicies",
      "lambda:GetFunction",
      "lambda:GetFunctionCodeSigningConfig",
      "lambda:GetPolicy",
      "lambda:ListVersionsByFunction",
      "logs:DescribeLogGroups",
      "logs:DescribeMetricFilters",
      "logs:ListTagsForResource",
      "s3:GetAccelerateConfiguration",
      "s3:GetBucket*",
      "s3:GetEncryptionConfiguration",
      "s3:GetLifecycleConfiguration",
      "s3:GetReplicationConfiguration",
      "s3:ListBucket",
      "sns:GetSubscriptionAttributes",
      "sns:GetTopicAttributes",
      "sns:ListTagsForResource",
      "sqs:GetQueueAttributes",
      "sqs:ListQueueTags",
      "ssm:DescribeDocument",
      "ssm:DescribeDocumentPermission",
      "ssm:DescribeParameters",
      "ssm:GetDocument",
      "ssm:ListTagsForResource",
    ]

    resources = ["*"]
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

resource "aws_iam_role" "github_deploy" {
  count = local.github

  name                 = "${var.name}-github-deploy"
  assume_role_policy   = data.aws_iam_policy_document.github_assume["production"].json
  max_session_duration = 3600
}

resource "aws_iam_role_policy" "github_deploy" {
  count = local.github

  name   = "apply-and-roll"
  role   = aws_iam_role.github_deploy[0].id
  policy = data.aws_iam_policy_document.github_deploy.json
}

# It changes what is named after this application. Its own role, GitHub's provider and the boundary it can only read:
# those a person with an administrator's rights applies (docs/deploy.md).
data "aws_iam_policy_document" "github_deploy" {
  source_policy_documents = [data.aws_iam_policy_document.github_plan.json]

  statement {
    sid = "ChangeNamed"

    actions = [
      "budgets:ModifyBudget",
      "cloudwatch:*Alarm*",
      "cloudwatch:TagResource",
      "ecr:*Repository*",
      "ecr:*LifecyclePolicy",
      "ecr:PutImage*",
      "ecr:TagResource",
      "events:*Rule",
      "events:*Targets",
      "events:TagResource",
      "glue:*Job",
      "glue:TagResource",
      "lambda:*Function*",
      "lambda:*Permission",
      "lambda:TagResource",
      "logs:*LogGroup",
      "logs:*MetricFilter",
      "logs:*RetentionPolicy",
      "logs:TagResource",
      "s3:*Bucket*",
      "s3:PutEncryptionConfiguration",
      "s3:PutLifecycleConfiguration",
      "sns:*Topic*",
      "sns:Subscribe",
      "sns:TagResource",
      "sns:Unsubscribe",
      "sqs:*Queue*",
      "ssm:*Document*",
      "ssm:*TagsToResource",
      "ssm:*Parameter",
    ]

    resources = [
      "${local.arn}:budgets::${local.account}:budget/${var.name}",
      "${local.arn}:cloudwatch:${var.region}:${local.account}:alarm:${var.name}-*",
      "${local.arn}:ecr:${var.region}:${local.account}:repository/${var.name}-*",
      "${local.arn}:events:${var.region}:${local.account}:rule/${var.name}-*",
      "${local.arn}:glue:${var.region}:${local.account}:job/${var.name}-*",
      "${local.arn}:lambda:${var.region}:${local.account}:function:${var.name}-*",
      "${local.arn}:logs:${var.region}:${local.account}:log-group:/${var.name}/*",
      "${local.arn}:logs:${var.region}:${local.account}:log-group:/aws/lambda/${var.name}-*",
      "${local.arn}:s3:::${var.name}-*-${local.account}",
      "${local.arn}:sns:${var.region}:${local.account}:${var.name}-*",
      "${local.arn}:sqs:${var.region}:${local.account}:${var.name}-*",
      "${local.arn}:ssm:${var.region}:${local.account}:document/${var.name}-*",
      aws_ssm_parameter.runs.arn,
      aws_ssm_parameter.settings.arn,
    ]
  }

  statement {
    sid       = "PutCode"
    actions   = ["s3:PutObject", "s3:PutObjectTagging", "s3:DeleteObject"]
    resources = ["${aws_s3_bucket.code.arn}/code/*"]
  }

  statement {
    sid       = "WriteState"
    actions   = ["s3:PutObject"]
    resources = ["${local.arn}:s3:::${var.state_bucket}/ninefold.tfstate"]
  }

  statement {
    sid       = "ReadPlan"
    actions   = ["s3:GetObject"]
    resources = ["${local.arn}:s3:::${var.state_bucket}/plans/*"]
  }

  statement {
    sid     = "ChangeNetworkAndHost"
    actions = ["ec2:*"]

    resources = ["*"]

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/application"
      values   = [var.name]
    }
  }

  statement {
    sid = "MakeNetworkAndHost" # what does not exist yet has no tag of its own

    actions = [
      "ec2:AllocateAddress",
      "ec2:AssociateAddress",
      "ec2:AuthorizeSecurityGroup*",
      "ec2:CreateInternetGateway",
      "ec2:CreateRouteTable",
      "ec2:CreateSecurityGroup",
      "ec2:CreateSubnet",
      "ec2:CreateTags",
      "ec2:CreateVpc",
      "ec2:CreateVpcEndpoint",
      "ec2:RunInstances",
    ]

    resources = ["*"]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestedRegion"
      values   = [var.region]
    }
  }

  # Roles only with the boundary, so that what is deployed cannot make itself more than it is.
  statement {
    sid       = "ChangeBoundedRoles"
    actions   = ["iam:CreateRole", "iam:PutRolePolicy", "iam:DeleteRolePolicy", "iam:PutRolePermissionsBoundary"]
    resources = [for part in keys(local.assumed_by) : "${local.arn}:iam::${local.account}:role/${var.name}-${part}"]

    condition {
      test     = "StringEquals"
      variable = "iam:PermissionsBoundary"
      values   = [aws_iam_policy.boundary.arn]
    }
  }

  statement {
    sid     = "KeepRoles"
    actions = ["iam:DeleteRole", "iam:TagRole", "iam:UpdateAssumeRolePolicy", "iam:*InstanceProfile"]

    resources = concat(
      [for part in keys(local.assumed_by) : "${local.arn}:iam::${local.account}:role/${var.name}-${part}"],
      ["${local.arn}:iam::${local.account}:instance-profile/${var.name}-host"],
    )
  }

  statement {
    sid       = "HandRolesOver"
    actions   = ["iam:PassRole"]
    resources = [for part in keys(local.assumed_by) : "${local.arn}:iam::${local.account}:role/${var.name}-${part}"]

    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = values(local.assumed_by)
    }
  }

  statement {
    sid     = "Roll"
    actions = ["ssm:SendCommand"]
    resources = [
      "${local.arn}:ec2:${var.region}:${local.account}:instance/${aws_instance.host.id}",
      aws_ssm_document.roll.arn,
    ]
  }

  statement {
    sid       = "SeeRoll"
    actions   = ["ssm:GetCommandInvocation"]
    resources = ["*"]
  }
}
