# The bucket that code lies in: what the Lambda and the Glue job run, and under host/ what the host is rolled with.

locals {
  code = {
    "lambda.zip"    = "application/zip"
    "preprocess.py" = "text/x-python"
    "predict.py"    = "text/x-python"
    "modules.zip"   = "application/zip"
  }
}

resource "aws_s3_bucket" "code" {
  bucket        = "${var.name}-code-${local.account}"
  force_destroy = var.force_destroy
}

resource "aws_s3_bucket_public_access_block" "code" {
  bucket                  = aws_s3_bucket.code.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "code" {
  bucket = aws_s3_bucket.code.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "code" {
  bucket = aws_s3_bucket.code.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_policy" "code" {
  bucket     = aws_s3_bucket.code.id
  policy     = data.aws_iam_policy_document.tls_only["code"].json
  depends_on = [aws_s3_bucket_public_access_block.code]
}

# No bundle expires: S3 does not know which one runs, and without it no host can be made again.
resource "aws_s3_bucket_lifecycle_configuration" "code" {
  bucket = aws_s3_bucket.code.id

  rule {
    id     = "abandoned-parts"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 2
    }
  }
}

resource "aws_s3_object" "code" {
  for_each = local.code

  bucket       = aws_s3_bucket.code.id
  key          = "code/${each.key}"
  source       = "${var.code_dir}/${each.key}"
  source_hash  = filesha256("${var.code_dir}/${each.key}")
  content_type = each.value
}
