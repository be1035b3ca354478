"""Modules of `benchmark.py`: engines in child processes, their figures, and the report."""
