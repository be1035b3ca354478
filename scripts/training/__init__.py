"""What `train.py` is made of: clips changed and batched, checkpoints loaded, steps made cheaper."""
