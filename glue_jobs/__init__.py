"""What Glue runs. Needs what Glue 5.1 has (Python 3.11, Spark, boto3), numpy, Pillow, and `contract`; nothing else."""
