# `terraform test`: what the configuration says, against a provider that is none. Nothing is asked of AWS.

mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }

  mock_resource "aws_s3_bucket" {
    defaults = { arn = "arn:aws:s3:::a-bucket" }
  }

  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/a-role" }
  }

  mock_resource "aws_iam_policy" {
    defaults = { arn = "arn:aws:iam::123456789012:policy/ninefold-boundary" }
  }

  mock_resource "aws_iam_openid_connect_provider" {
    defaults = { arn = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com" }
  }

  mock_resource "aws_sqs_queue" {
    defaults = { arn = "arn:aws:sqs:eu-central-1:123456789012:a-queue" }
  }

  mock_resource "aws_lambda_function" {
    defaults = { arn = "arn:aws:lambda:eu-central-1:123456789012:function:a-function" }
  }

  mock_resource "aws_sns_topic" {
    defaults = { arn = "arn:aws:sns:eu-central-1:123456789012:a-topic" }
  }

  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:eu-central-1:123456789012:log-group:a-group" }
  }

  mock_resource "aws_glue_job" {
    defaults = { arn = "arn:aws:glue:eu-central-1:123456789012:job/ninefold-preprocess" }
  }
}

variables {
  region         = "eu-central-1"
  domain         = "ninefold.example"
  alarm_email    = "someone@ninefold.example"
  code_dir       = "tests/code"
  github_subject = "repo:someone@1/ninefold@2"
  state_bucket   = "some-state"
}

run "nothing_is_more_open_than_it_must_be" {
  command = apply

  assert {
    condition = alltrue([
      for block in [aws_s3_bucket_public_access_block.data, aws_s3_bucket_public_access_block.code] :
      block.block_public_acls && block.block_public_policy && block.ignore_public_acls && block.restrict_public_buckets
    ])
    error_message = "public access is to be blocked in all four ways"
  }

  assert {
    condition     = one(data.aws_iam_policy_document.tls_only["data"].statement).effect == "Deny"
    error_message = "what does not come over TLS is to be denied"
  }

  assert {
    condition     = one(aws_s3_bucket_cors_configuration.data.cors_rule).allowed_origins == toset(["https://ninefold.example"])
    error_message = "only the page's own origin may upload"
  }

  assert {
    condition     = contains(one(aws_s3_bucket_cors_configuration.data.cors_rule).expose_headers, "ETag")
    error_message = "an upload in parts needs each part's ETag"
  }

  assert {
    condition     = !aws_s3_bucket.data.force_destroy && !aws_ecr_repository.image["backend"].force_delete
    error_message = "data is to be deleted only where somebody asked for it"
  }

  assert {
    condition = alltrue([
      for role in [aws_iam_role.function, aws_iam_role.job, aws_iam_role.host] :
      role.permissions_boundary == aws_iam_policy.boundary.arn
    ])
    error_message = "every role has the boundary"
  }

  assert {
    condition = alltrue(flatten([
      for document in [data.aws_iam_policy_document.function, data.aws_iam_policy_document.job] : [
        for statement in document.statement :
        !contains(statement.resources, "*") || length(statement.condition) > 0
      ]
    ]))
    error_message = "the Lambda and the job may do nothing on everything"
  }

  assert {
    condition = alltrue(flatten([
      for document in [
        data.aws_iam_policy_document.function, data.aws_iam_policy_document.job, data.aws_iam_policy_document.host
      ] : [for statement in document.statement : [for action in statement.actions : !strcontains(action, "*")]]
    ]))
    error_message = "actions are named one by one"
  }

  assert {
    condition = alltrue([
      for statement in data.aws_iam_policy_document.host.statement :
      !contains(statement.resources, "*") || length(statement.condition) > 0 ||
      contains(["LogInToRegistry", "TakeCommands"], statement.sid)
    ])
    error_message = "the host may do on everything only what has no resource"
  }

  assert {
    condition     = !anytrue([for s in data.aws_iam_policy_document.function.statement : contains(s.actions, "s3:DeleteObject")])
    error_message = "the Lambda deletes nothing"
  }

  assert {
    condition = {
      for name, document in data.aws_iam_policy_document.github_assume : name => [
        for condition in one(document.statement).condition :
        one(condition.values) if endswith(condition.variable, ":sub") && condition.test == "StringEquals"
      ]
      } == {
      build      = ["repo:someone@1/ninefold@2:environment:build"]
      production = ["repo:someone@1/ninefold@2:environment:production"]
    }
    error_message = "the subject is to be compared as a whole, with the environment in it"
  }

  assert {
    condition = [
      for statement in data.aws_iam_policy_document.github_deploy.statement :
      [for condition in statement.condition : condition.variable] if contains(statement.actions, "iam:PutRolePolicy")
    ] == [["iam:PermissionsBoundary"]]
    error_message = "roles are changed only with their boundary"
  }

  assert {
    condition = !anytrue(flatten([
      for statement in data.aws_iam_policy_document.github_plan.statement : [
        for action in statement.actions :
        can(regex("(Create|Put|Delete|Update|Run|Start|Send)", action)) && statement.sid != "LockState"
      ]
    ]))
    error_message = "who plans changes nothing but the state's lock"
  }

  assert {
    condition = {
      for statement in data.aws_iam_policy_document.alarms.statement :
      one(one(statement.principals).identifiers) => [for condition in statement.condition : condition.variable]
      } == {
      "cloudwatch.amazonaws.com" = ["aws:SourceAccount"]
      "events.amazonaws.com"     = []
    }
    error_message = "EventBridge names no account: with a condition its messages are lost"
  }

  assert {
    condition = alltrue(flatten([
      for document in [data.aws_iam_policy_document.github_plan, data.aws_iam_policy_document.github_build] : [
        for statement in document.statement :
        !contains(statement.resources, "*") || contains(["List", "LogInToRegistry"], statement.sid)
      ]
    ]))
    error_message = "who builds and plans reads what is named after the application, and else only what is there"
  }

  assert {
    condition = [
      for statement in data.aws_iam_policy_document.github_deploy.statement :
      [for condition in statement.condition : condition.variable] if contains(statement.actions, "ec2:CreateTags")
    ] == [["ec2:CreateAction"]]
    error_message = "a tag is given to what is being made alone: it is what makes a thing the workflow's own"
  }

  assert {
    condition = alltrue(flatten([
      for statement in data.aws_iam_policy_document.github_deploy.statement : [
        for action in statement.actions : !contains(statement.resources, "*")
        if can(regex("^ec2:(Associate|Authorize|.*SecurityGroup(E|In)gress)", action))
      ]
    ]))
    error_message = "ports are opened, and the address handed over, for tagged things alone"
  }

  assert {
    condition = alltrue([
      for document in [data.aws_iam_policy_document.host, data.aws_iam_policy_document.boundary] :
      one([for statement in document.statement : one(statement.condition).values if contains(statement.actions, "kms:Decrypt")])
      == tolist(["ssm.eu-central-1.amazonaws.com"])
    ])
    error_message = "secrets are decrypted by way of SSM, and nothing else is"
  }

  assert {
    condition     = one(aws_instance.host.metadata_options).http_tokens == "required"
    error_message = "the metadata service is to be asked with a token alone (IMDSv2)"
  }

  assert {
    condition     = toset([for rule in aws_vpc_security_group_ingress_rule.host : rule.from_port]) == toset([80, 443])
    error_message = "only the proxy's ports are open"
  }

  assert {
    condition = alltrue([
      for parameter in jsondecode(aws_ssm_document.roll.content).parameters :
      parameter.allowedPattern == "^sha256:[0-9a-f]{64}$" && parameter.type == "String"
    ])
    error_message = "the document takes digests alone"
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.unready.treat_missing_data == "breaching"
    error_message = "a host that says nothing is not ready"
  }

  assert {
    condition     = aws_ssm_parameter.backend.value == "# backend_settings"
    error_message = "SSM takes no empty parameter"
  }

  assert {
    condition     = aws_lambda_function.start.timeout <= 60
    error_message = "CLAIM_SECONDS takes over what is older"
  }
}

run "the_servers_settings_reach_the_host_as_lines_that_compose_reads" {
  command = apply

  variables {
    backend_settings = { NINEFOLD_QUEUE_IMAGES = "72", NINEFOLD_PRECISION = "fp32" }
  }

  assert {
    condition     = aws_ssm_parameter.backend.value == "# backend_settings\nNINEFOLD_PRECISION='fp32'\nNINEFOLD_QUEUE_IMAGES='72'"
    error_message = "a line each, quoted"
  }

  assert {
    condition = (
      contains(split("\n", aws_ssm_parameter.settings.value), "NINEFOLD_PRECISION='fp32'")
      && !strcontains(aws_ssm_parameter.settings.value, "QUEUE_IMAGES")
    )
    error_message = "what Compose hands on is in its own settings, too"
  }

  assert {
    condition = one([
      for statement in data.aws_iam_policy_document.host.statement : statement.resources if statement.sid == "ReadSettings"
    ]) == toset([aws_ssm_parameter.settings.arn, aws_ssm_parameter.backend.arn])
    error_message = "the host reads both parameters"
  }
}

run "github_is_left_out" {
  command = plan

  variables {
    github_subject = ""
  }

  assert {
    condition     = length(aws_iam_role.github_build) + length(aws_iam_role.github_deploy) == 0
    error_message = "without a repository GitHub has no role"
  }
}

run "a_subject_with_a_wildcard_is_refused" {
  command = plan

  variables {
    github_subject = "repo:someone/*"
  }

  expect_failures = [var.github_subject]
}

run "what_the_hosts_shell_reads_has_no_quotes" {
  command = plan

  variables {
    region = "eu-central-1'"
    model  = "resnet18'; reboot; '"
  }

  expect_failures = [var.region, var.model]
}

run "settings_of_other_programs_are_refused" {
  command = plan

  variables {
    backend_settings = { LD_PRELOAD = "/tmp/x.so" }
  }

  expect_failures = [var.backend_settings]
}

run "a_setting_of_two_lines_is_refused" {
  command = plan

  variables {
    backend_settings = { NINEFOLD_DETECTOR = "detr_resnet50\nLD_PRELOAD=/tmp/x.so" }
  }

  expect_failures = [var.backend_settings]
}

run "a_setting_that_ends_its_quotes_is_refused" {
  command = plan

  variables {
    backend_settings = { NINEFOLD_DETECTOR = "x'" }
  }

  expect_failures = [var.backend_settings]
}

run "a_setting_that_would_be_passed_over_is_refused" {
  command = plan

  variables {
    backend_settings = { NINEFOLD_MODEL = "resnet50" }
  }

  expect_failures = [var.backend_settings]
}
