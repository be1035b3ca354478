"""The baselines of a Whisper benchmark: models that common tools make from the same checkpoint."""

from pathlib import Path

COPIED_FILES = ("tokenizer.json", "preprocessor_config.json")
"""The files besides the model that faster-whisper reads. Without a tokenizer it fetches one from the hub."""


def convert_to_ctranslate2(checkpoint: Path, target: Path) -> None:
    """Write the folder that `ct2-transformers-converter --quantization int8` makes of a Whisper checkpoint.

    A tokenizer in the old format (`vocab.json`, `merges.txt`) is converted too. Raises the errors of the converter.
    """
    from ctranslate2.converters import TransformersConverter
    from transformers import WhisperTokenizerFast

    copied = [name for name in COPIED_FILES if (checkpoint / name).is_file()]
    TransformersConverter(str(checkpoint), copy_files=copied).convert(str(target), quantization="int8")
    tokenizer = target / "tokenizer.json"
    if not tokenizer.is_file():
        WhisperTokenizerFast.from_pretrained(checkpoint).backend_tokenizer.save(str(tokenizer))
