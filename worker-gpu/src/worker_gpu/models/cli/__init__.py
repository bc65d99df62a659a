"""`python -m worker_gpu models`: push models to the bucket, and pull and verify a models folder."""
