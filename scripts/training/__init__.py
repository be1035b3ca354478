"""Modules of `train.py`: objectives of model families, augmentation, batches, checkpoints, trainers, the optimizer."""
