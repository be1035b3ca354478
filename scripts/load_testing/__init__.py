"""What `load.py`, `tools/load_scenarios.py` and Locust share: clips, users, answers, figures and their tables."""
