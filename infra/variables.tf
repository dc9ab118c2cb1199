# docs/deploy.md lists them all; a test holds that table to this file.

variable "region" {
  type        = string
  description = "AWS region of everything"

  validation {
    condition     = can(regex("^[a-z0-9-]+$", var.region))
    error_message = "A region's name alone, as in eu-central-1."
  }
}

variable "name" {
  type        = string
  default     = "ninefold"
  description = "what every resource's name begins with"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,20}$", var.name))
    error_message = "Lower-case letters, digits and dashes, 2 to 21 of them: buckets are named by it."
  }
}

variable "domain" {
  type        = string
  description = "host name of page and API, without https://; its A record is yours to set, to the output `address`"

  validation {
    condition     = can(regex("^[a-z0-9.-]+$", var.domain))
    error_message = "A host name alone, as in ninefold.example: no scheme, port or path."
  }
}

variable "model" {
  type        = string
  default     = "resnet18"
  description = "the model that must answer (NINEFOLD_MODEL); without it the server does not start"

  validation {
    condition     = can(regex("^[a-z0-9_-]+$", var.model))
    error_message = "Lower-case letters, digits, dashes and underscores: the host reads its settings by a shell."
  }
}

variable "page_members" {
  type        = string
  default     = ""
  description = "of those whom the page's identity provider knows, who may see it (NINEFOLD_PAGE_MEMBERS); empty: all"

  validation {
    condition     = can(regex("^[A-Za-z0-9@._,+-]*$", var.page_members))
    error_message = "Addresses and @domains, separated by commas alone."
  }
}

variable "backend_settings" {
  type        = map(string)
  default     = {}
  description = "further settings of the server: docs/operations.md lists them; they arrive with the next roll"

  validation {
    condition     = alltrue([for name in keys(var.backend_settings) : can(regex("^NINEFOLD_[A-Z0-9_]+$", name))])
    error_message = "Names of settings, as in NINEFOLD_QUEUE_IMAGES."
  }

  validation {
    condition     = alltrue([for value in values(var.backend_settings) : !can(regex("['\\\\\r\n]", value))])
    error_message = "One line each, without single quotes and backslashes: Compose reads them from a file."
  }

  # What docker-compose.production.yml sets itself would be passed over in silence.
  validation {
    condition = length(setintersection(keys(var.backend_settings), [
      "NINEFOLD_BUCKET",
      "NINEFOLD_DRIFT_REFERENCE",
      "NINEFOLD_EVALUATION",
      "NINEFOLD_GLUE_JOB",
      "NINEFOLD_KEYS_FILE",
      "NINEFOLD_MAX_ZIP_MB",
      "NINEFOLD_MODEL",
      "NINEFOLD_PAGE_ORIGINS",
    ])) == 0
    error_message = "One of them is set already: the model by `model`, a zip's size by `max_zip_mb`, the others by what is here."
  }
}

variable "code_dir" {
  type        = string
  default     = "../build"
  description = "folder that `python -m scripts.package` filled"
}

variable "instance_type" {
  type        = string
  default     = "c7i.large"
  description = "EC2 type of the host, x86-64"
}

variable "disk_gb" {
  type        = number
  default     = 30
  description = "size of the host's disk"
}

variable "allowed_cidrs" {
  type        = list(string)
  default     = ["0.0.0.0/0"]
  description = "addresses that may reach ports 80 and 443"
}

variable "max_zip_mb" {
  type        = number
  default     = 500
  description = "size of one zip (NINEFOLD_MAX_ZIP_MB), for the Lambda and the server alike"
}

variable "glue_workers" {
  type        = number
  default     = 2
  description = "G.1X workers of one Glue run, the driver among them"
}

variable "glue_concurrent_runs" {
  type        = number
  default     = 5
  description = "Glue runs at once; what comes above it waits in Glue's queue"
}

variable "glue_timeout_minutes" {
  type        = number
  default     = 60
  description = "after which a Glue run is ended"
}

variable "log_days" {
  type        = number
  default     = 30
  description = "how long logs are kept; one of the numbers that CloudWatch allows"
}

variable "alarm_email" {
  type        = string
  description = "address that alarms and the budget write to; AWS asks it for a confirmation first"
}

variable "budget_usd" {
  type        = number
  default     = 150
  description = "monthly budget of the account in US dollars; e-mails at 80 % spent and at 100 % forecast"
}

variable "github_subject" {
  type        = string
  default     = ""
  description = "the repository as GitHub's tokens name it, up to `:environment`; empty: no roles for GitHub"

  validation {
    condition     = var.github_subject == "" || can(regex("^repo:[A-Za-z0-9@._/-]+$", var.github_subject))
    error_message = "As GitHub shows it in the repository's OIDC settings, beginning with repo:, and without wildcards."
  }
}

variable "state_bucket" {
  type        = string
  default     = ""
  description = "bucket of Terraform's state, which GitHub's roles may use"
}

variable "force_destroy" {
  type        = bool
  default     = false
  description = "true: `destroy` removes buckets and repositories with all that is in them"
}
