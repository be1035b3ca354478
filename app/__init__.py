"""Dikte: a speech-to-text service for wav2vec2-CTC models on ordinary CPUs."""

__version__ = "0.1.0"
