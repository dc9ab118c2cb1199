# lambda/start_preprocessing.py: an upload becomes a Glue run.

resource "aws_sqs_queue" "dead_letters" {
  name                      = "${var.name}-start-preprocessing-dead-letters"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
}

resource "aws_lambda_function" "start" {
  function_name    = "${var.name}-start-preprocessing"
  runtime          = "python3.12"
  handler          = "start_preprocessing.handler"
  role             = aws_iam_role.function.arn
  s3_bucket        = aws_s3_object.code["lambda.zip"].bucket
  s3_key           = aws_s3_object.code["lambda.zip"].key
  source_code_hash = filebase64sha256("${var.code_dir}/lambda.zip")
  memory_size      = 512
  # contract.batches.CLAIM_SECONDS: whoever wrote an older claim must have ended.
  timeout = 60

  environment {
    variables = {
      GLUE_JOB            = aws_glue_job.preprocess.name
      NINEFOLD_MAX_ZIP_MB = tostring(var.max_zip_mb)
    }
  }

  dead_letter_config {
    target_arn = aws_sqs_queue.dead_letters.arn
  }

  depends_on = [aws_iam_role_policy.function, aws_cloudwatch_log_group.function]
}

resource "aws_lambda_permission" "uploads" {
  statement_id   = "uploads"
  action         = "lambda:InvokeFunction"
  function_name  = aws_lambda_function.start.function_name
  principal      = "s3.amazonaws.com"
  source_arn     = aws_s3_bucket.data.arn
  source_account = local.account
}

resource "aws_cloudwatch_log_group" "function" {
  name              = "/aws/lambda/${var.name}-start-preprocessing"
  retention_in_days = var.log_days
}
