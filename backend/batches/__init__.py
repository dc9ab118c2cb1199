"""Batches: a user's zip in S3, and all that becomes of it."""
