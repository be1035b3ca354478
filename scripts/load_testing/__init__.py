"""Modules of `load.py`, `tools/load_scenarios.py` and the locustfile: clips, users, answers, figures and tables."""
