"""Modules of `train.py`: augmentation, batches, checkpoints, the trainer, the optimizer, and faster convolutions."""
