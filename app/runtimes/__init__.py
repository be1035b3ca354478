"""Runtimes, one per file: each loads a graph and computes it. They know named tensors, and no model family."""
