"""What `benchmark.py` is made of: engines in processes of their own, their figures and the report."""
