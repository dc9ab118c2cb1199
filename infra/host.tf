# The one host: Amazon Linux 2023, Docker, Compose. Nobody logs in; SSM is the only way, and it rolls digests alone.

data "aws_ssm_parameter" "image" {
  name = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
}

locals {
  registry = "${local.account}.dkr.ecr.${var.region}.amazonaws.com"
  secrets  = "/${var.name}/secrets" # parameters that people put there: docs/deploy.md

  # What host/deploy.sh and the Compose files read, beside the name and the region. Nothing in it is secret.
  settings = {
    COMPOSE_FILE              = "docker-compose.yml:docker-compose.production.yml:infra/host/docker-compose.host.yml"
    NINEFOLD_REGISTRY         = local.registry
    NINEFOLD_DOMAIN           = var.domain
    NINEFOLD_MODEL            = var.model
    NINEFOLD_PAGE_MEMBERS     = var.page_members
    NINEFOLD_BUCKET           = aws_s3_bucket.data.id
    NINEFOLD_GLUE_JOB         = aws_glue_job.preprocess.name
    NINEFOLD_MAX_ZIP_MB       = tostring(var.max_zip_mb)
    NINEFOLD_CODE_BUCKET      = aws_s3_bucket.code.id
    NINEFOLD_SECRETS          = local.secrets
    NINEFOLD_RUNS             = aws_ssm_parameter.runs.name
    NINEFOLD_BACKEND_SETTINGS = aws_ssm_parameter.backend.name
  }

  # What docker-compose.production.yml hands on of these; it would pass over them in a file.
  handed_on = {
    for name, value in var.backend_settings : name => value
    if contains(["NINEFOLD_DRAIN_SECONDS", "NINEFOLD_PRECISION"], name)
  }
}

# Read at every roll, so a setting that is applied arrives with the next one.
resource "aws_ssm_parameter" "settings" {
  name  = "/${var.name}/settings"
  type  = "String"
  value = join("\n", [for name, value in merge(local.settings, local.handed_on) : "${name}='${value}'"])
}

# Those of the server alone, which Compose hands on to it as they are. A parameter is never empty, hence the first line.
resource "aws_ssm_parameter" "backend" {
  name  = "/${var.name}/backend"
  type  = "String"
  value = join("\n", concat(["# backend_settings"], [for name, value in var.backend_settings : "${name}='${value}'"]))
}

resource "aws_instance" "host" {
  ami                    = data.aws_ssm_parameter.image.value
  instance_type          = var.instance_type
  subnet_id              = aws_subnet.host.id
  vpc_security_group_ids = [aws_security_group.host.id]
  iam_instance_profile   = aws_iam_instance_profile.host.name

  user_data = templatefile("${path.module}/host/first-start.sh.tftpl", {
    region = var.region
    name   = var.name
    roll   = file("${path.module}/host/ninefold-roll.sh")
  })

  metadata_options {
    http_tokens = "required"
    # Two hops: the containers ask it for the role's keys through Docker's bridge.
    http_put_response_hop_limit = 2
  }

  root_block_device {
    volume_type = "gp3"
    volume_size = var.disk_gb
    encrypted   = true
  }

  tags = { Name = "${var.name}-host" }

  lifecycle {
    # A newer image of Amazon Linux is no reason to replace a host that runs: docs/deploy.md says when and how.
    ignore_changes = [ami, user_data]
  }

  depends_on = [aws_iam_role_policy.host, aws_route_table_association.host]
}

resource "aws_eip" "host" {
  instance = aws_instance.host.id
  domain   = "vpc"

  tags = { Name = "${var.name}-host" }
}

# What runs: four digests, written by the host after each roll that went well. A new host starts with them.
resource "aws_ssm_parameter" "runs" {
  name  = "/${var.name}/runs"
  type  = "String"
  value = "nothing"

  lifecycle {
    ignore_changes = [value]
  }
}

resource "aws_ssm_document" "roll" {
  name            = "${var.name}-roll"
  document_type   = "Command"
  document_format = "JSON"

  content = jsonencode({
    schemaVersion = "2.2"
    description   = "Rolls the host to these digests: old and new side by side, the old taken away when the new is ready"
    parameters = {
      for name in ["HostDigest", "BackendDigest", "FrontendDigest", "ProxyDigest"] : name => {
        type           = "String"
        allowedPattern = "^sha256:[0-9a-f]{64}$"
      }
    }
    mainSteps = [{
      action = "aws:runShellScript"
      name   = "roll"
      inputs = {
        timeoutSeconds = "1200"
        runCommand = [
          "exec /usr/local/bin/ninefold-roll '{{HostDigest}}' '{{BackendDigest}}' '{{FrontendDigest}}' '{{ProxyDigest}}'",
        ]
      }
    }]
  })
}

resource "aws_cloudwatch_log_group" "service" {
  for_each = local.images

  name              = "/${var.name}/${each.key}"
  retention_in_days = var.log_days
}
