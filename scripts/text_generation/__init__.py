"""What `sentences.py` is made of: word lists and templates in data files, and the rules that inflect Turkish words."""
