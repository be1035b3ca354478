"""What `export.py` is made of: forms of a model, their files, quantization, and the proofs."""
