"""Modules of `train.py`: a training as a function, objectives of model families, augmentation, batches, trainers."""
