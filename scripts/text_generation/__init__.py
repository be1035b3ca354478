"""Modules of `sentences.py`: readers of word lists and templates, and the rules that inflect Turkish words."""
