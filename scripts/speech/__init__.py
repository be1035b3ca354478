"""Speech data: rows of audio and text, text normalization, and scoring. Shared by most scripts."""
