"""Speech data: rows of sound and text, texts normalized, transcripts scored. Shared by most scripts."""
