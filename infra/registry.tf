# One repository an image. A digest is what is deployed, so a tag never moves.

locals {
  images = toset(["backend", "frontend", "proxy"])
}

resource "aws_ecr_repository" "image" {
  for_each = local.images

  name                 = "${var.name}-${each.key}"
  image_tag_mutability = "IMMUTABLE"
  force_delete         = var.force_destroy

  image_scanning_configuration {
    scan_on_push = true
  }

  encryption_configuration {
    encryption_type = "AES256"
  }
}

resource "aws_ecr_lifecycle_policy" "image" {
  for_each = local.images

  repository = aws_ecr_repository.image[each.key].name

  policy = jsonencode({
    rules = [{
      rulePriority = 1
      # Pushes that nobody approved count as well, and ECR does not know which image runs.
      description = "the last two hundred, which is how far back one can roll"
      selection   = { tagStatus = "any", countType = "imageCountMoreThan", countNumber = 200 }
      action      = { type = "expire" }
    }]
  })
}
