"""Make a squeezed student of a CTC checkpoint: its layers compute at a half or a third of the frame rate.

    python scripts/tools/squeeze_checkpoint.py --checkpoint models/tr-small --squeeze 2 --out models/squeezed \
      --speech data/held_out/manifest.jsonl
    python scripts/train.py --model_name models/squeezed --teacher models/tr-small ...

`scripts/training/squeeze.py` says what the student begins with. With `--speech`, prints how near that is: the share of
frames in which both output the same token, of all frames and of those in which the original outputs a letter, and the
word and character error rates of both.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import jiwer
import torch
from tqdm import tqdm
from transformers import PreTrainedModel

from app.artifacts import ArtifactError
from app.models import find_model_folder
from app.runtimes.registry import REFERENCE
from scripts.speech.data import DataError, SpeechRows, load_speech
from scripts.training.checkpoints import CtcCheckpoint, load_with_head
from scripts.training.squeeze import squeezed


class Nearness(NamedTuple):
    """How near a student is to its original.

    frames: share of frames with the same token. letters: of those in which the original outputs a letter. wer, cer: of
    the original and of the student.
    """

    frames: float
    letters: float
    wer: tuple[float, float]
    cer: tuple[float, float]

    def __str__(self) -> str:
        return (
            f"the same token in {self.frames:.1%} of frames, in {self.letters:.1%} of those with letters; "
            f"WER {self.wer[0]:.1%} -> {self.wer[1]:.1%}, CER {self.cer[0]:.1%} -> {self.cer[1]:.1%}"
        )


@torch.inference_mode()
def nearness(original: CtcCheckpoint, student: PreTrainedModel, rows: SpeechRows) -> Nearness:
    """Compare both on clips with texts. Both have the tokens of the original."""
    extractor, tokenizer = original.feature_extractor, original.tokenizer
    references: list[str] = []
    texts: tuple[list[str], list[str]] = ([], [])
    same: list[torch.Tensor] = []
    letters: list[torch.Tensor] = []
    models = [model.eval() for model in (original.model, student)]
    for index, text in enumerate(tqdm(rows.texts(), unit="clip", disable=None)):
        samples = rows.samples(index, int(extractor.sampling_rate))
        values = extractor(samples, sampling_rate=extractor.sampling_rate, return_tensors="pt").input_values
        ours, theirs = (model(values).logits[0].argmax(dim=-1) for model in models)
        same.append(ours == theirs)
        letters.append(ours != original.model.config.pad_token_id)
        references.append(original.normalizer(text))
        for hypotheses, tokens in zip(texts, (ours, theirs), strict=True):
            hypotheses.append(tokenizer.decode(tokens))
    frames = torch.cat(same).double()
    of_letters = frames[torch.cat(letters)]
    wer, cer = (tuple(float(rate(references, hypotheses)) for hypotheses in texts) for rate in (jiwer.wer, jiwer.cer))
    return Nearness(float(frames.mean()), float(of_letters.mean()), (wer[0], wer[1]), (cer[0], cer[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, help="hub id or folder of a wav2vec2 or HuBERT CTC checkpoint")
    parser.add_argument("--squeeze", type=int, default=2, help="number of frames that share one in the layers")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint folder to make")
    parser.add_argument("--speech", help="speech data with texts, on which to compare both")
    parser.add_argument("--language", default="tr", help="ISO 639-1 code of the speech")
    arguments = parser.parse_args()
    try:
        original = load_with_head(find_model_folder(arguments.checkpoint, REFERENCE), arguments.language)
        student = squeezed(original.model, arguments.squeeze)
        rows = next(iter(load_speech(arguments.speech).values())) if arguments.speech else None
    except (ArtifactError, DataError, ValueError) as error:
        sys.exit(str(error))
    original._replace(model=student).save(arguments.out)
    print(f"{student.num_parameters() / 1e6:.1f} M parameters, layers at 1/{arguments.squeeze} of the frames")
    if rows is not None:
        print(f"On {len(rows)} clips: {nearness(original, student, rows)}")
    print(arguments.out)


if __name__ == "__main__":
    main()
