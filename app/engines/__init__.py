"""Engines: a file per model family, which knows what goes in and out, and a file per runtime, which computes."""
