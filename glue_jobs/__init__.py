"""What Glue runs: what Glue 5.1 has (Python 3.11, Spark, boto3), numpy, Pillow and `contract`.

predict.py needs `inference` and OpenVINO besides, and runs on any Spark.
"""
