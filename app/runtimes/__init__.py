"""Runtimes: a file for each, which loads a graph and computes it. They know tensors by name, and no model family."""
