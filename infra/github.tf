# GitHub's workflows have no keys: a job's token, whose subject names repository and environment, gets it one of two roles.
# Who builds and plans cannot change anything that runs; who applies can, and its environment asks a person first.

locals {
  github = var.github_subject == "" ? 0 : 1

  # Whatever is named after this application, but roles and what EC2 makes: those have no name in their ARN.
  named = [
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
    aws_ssm_parameter.backend.arn,
    aws_ssm_parameter.runs.arn,
    aws_ssm_parameter.settings.arn,
  ]

  roles = [for part in keys(local.assumed_by) : "${local.arn}:iam::${local.account}:role/${var.name}-${part}"]

  # Tagged as they are made; what is there already, and is not this application's, cannot be made its own by a tag.
  ec2_made_tagged = [
    "AllocateAddress",
    "AuthorizeSecurityGroupEgress",
    "AuthorizeSecurityGroupIngress",
    "CreateInternetGateway",
    "CreateRouteTable",
    "CreateSecurityGroup",
    "CreateSubnet",
    "CreateVpc",
    "CreateVpcEndpoint",
    "RunInstances",
  ]
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

    resources = local.named
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
    sid       = "MakeNetworkAndHost" # what does not exist yet has no tag of its own
    actions   = [for action in local.ec2_made_tagged : "ec2:${action}" if !startswith(action, "Authorize")]
    resources = ["*"]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestedRegion"
      values   = [var.region]
    }
  }

  # These ask for a tagged thing as well, by ChangeNetworkAndHost: a rule's group, an address.
  statement {
    sid     = "OpenPortsAndHandAddressOver"
    actions = ["ec2:*SecurityGroupEgress", "ec2:*SecurityGroupIngress", "ec2:AssociateAddress", "ec2:DisassociateAddress"]

    resources = [
      "${local.arn}:ec2:${var.region}:${local.account}:network-interface/*",
      "${local.arn}:ec2:${var.region}:${local.account}:security-group-rule/*",
    ]
  }

  statement {
    sid       = "TagWhatIsMade"
    actions   = ["ec2:CreateTags"]
    resources = ["${local.arn}:ec2:${var.region}:${local.account}:*/*"]

    condition {
      test     = "StringEquals"
      variable = "ec2:CreateAction"
      values   = local.ec2_made_tagged
    }
  }

  # Roles only with the boundary, so that what is deployed cannot make itself more than it is.
  statement {
    sid       = "ChangeBoundedRoles"
    actions   = ["iam:CreateRole", "iam:PutRolePolicy", "iam:DeleteRolePolicy", "iam:PutRolePermissionsBoundary"]
    resources = local.roles

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
      local.roles,
      ["${local.arn}:iam::${local.account}:instance-profile/${var.name}-host"],
    )
  }

  statement {
    sid       = "HandRolesOver"
    actions   = ["iam:PassRole"]
    resources = local.roles

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
