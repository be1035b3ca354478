"""Estimates and tunes language models."""
