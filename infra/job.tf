# glue_jobs/preprocess.py: a zip becomes shards of pixels.

resource "aws_glue_job" "preprocess" {
  name                    = "${var.name}-preprocess"
  role_arn                = aws_iam_role.job.arn
  glue_version            = "5.1"
  worker_type             = "G.1X"
  execution_class         = "STANDARD"
  number_of_workers       = var.glue_workers
  timeout                 = var.glue_timeout_minutes
  max_retries             = 0 # a run that failed is started again from the page, or by the server
  job_run_queuing_enabled = true

  command {
    name            = "glueetl"
    python_version  = "3"
    script_location = "s3://${aws_s3_object.code["preprocess.py"].bucket}/${aws_s3_object.code["preprocess.py"].key}"
  }

  default_arguments = {
    "--bucket"         = aws_s3_bucket.data.id
    "--extra-py-files" = "s3://${aws_s3_object.code["modules.zip"].bucket}/${aws_s3_object.code["modules.zip"].key}"
    # As requirements/glue.txt has them; a test holds them together.
    "--additional-python-modules" = "boto3==1.44.5,pillow==13.0.0,numpy==2.4.6"
    "--custom-logGroup-prefix"    = "/${var.name}/glue"
    "--enable-metrics"            = "true"
  }

  execution_property {
    max_concurrent_runs = var.glue_concurrent_runs
  }
}

# Glue adds /error and /output to the prefix that the job is told.
resource "aws_cloudwatch_log_group" "job" {
  for_each = toset(["error", "output"])

  name              = "/${var.name}/glue/${each.key}"
  retention_in_days = var.log_days
}
