"""Modules of `export.py`: the forms of a model, its files, quantization, and the proofs."""
