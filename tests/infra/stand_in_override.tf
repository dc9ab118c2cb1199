# What differs where localcloud stands in for AWS; Terraform lays it over infra/ because of its name.

terraform {
  backend "local" {}
}

provider "aws" {
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  s3_use_path_style           = true
}

# moto does not know who is written to by a budget, and the provider asks for ever; tests/configuration.tftest.hcl
# makes it with the rest.
resource "aws_budgets_budget" "monthly" {
  count = 0
}

# moto forgets that runs may wait for their turn, so each plan would say it again.
resource "aws_glue_job" "preprocess" {
  job_run_queuing_enabled = null
}
