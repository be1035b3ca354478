"""What `load.py`, `load_scenarios.py` and Locust share: clips, users, answers, figures, the service and the report."""
