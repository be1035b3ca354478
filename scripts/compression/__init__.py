"""The modules of `scripts/compress.py` and `scripts/tune.py`."""
