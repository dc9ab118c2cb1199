output "address" {
  description = "what the domain's A record must say"
  value       = aws_eip.host.public_ip
}

output "data_bucket" {
  description = "where batches lie"
  value       = aws_s3_bucket.data.id
}

output "code_bucket" {
  description = "where code lies; bundles of the host under host/"
  value       = aws_s3_bucket.code.id
}

output "registry" {
  description = "where images are pushed, before the slash"
  value       = local.registry
}

output "instance" {
  description = "the host, to which the roll is sent"
  value       = aws_instance.host.id
}

output "document" {
  description = "the SSM document that rolls"
  value       = aws_ssm_document.roll.name
}

output "runs" {
  description = "the SSM parameter with the digests that run"
  value       = aws_ssm_parameter.runs.name
}

output "build_role" {
  description = "role of the workflow's jobs that build and plan"
  value       = one(aws_iam_role.github_build[*].arn)
}

output "deploy_role" {
  description = "role of the workflow's jobs that apply and roll"
  value       = one(aws_iam_role.github_deploy[*].arn)
}

output "name" {
  description = "what every resource's name begins with"
  value       = var.name
}
