"""Measure what a Whisper model's second tries cost, and whether samples at higher temperatures pass the checks.

    python scripts/tools/second_tries.py data/turkish/manifest.jsonl --model_dir models/whisper-base --language tr

Computes each window of the clips once, then as the service does. Windows whose text fails the checks are also computed
in full and at all temperatures until one passes, as openai/whisper does. Prints the processor time of each.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from tqdm import tqdm

from app.artifacts import ArtifactError
from app.families.whisper.language import Language
from app.families.whisper.recognizer import TOKENS_PER_S, WhisperRecognizer, is_silence, passes
from app.models import find_model_folder, load_recognizer, open_model
from app.recognizer import UNCHECKED, Options, Window, never
from app.runtimes.registry import BACKENDS, ONNX_INT8
from scripts.common.report import table
from scripts.speech.clips import DataError
from scripts.speech.eval_sets import load_eval_set, options_for


@dataclass
class Tries:
    """Sums over windows. failing: windows whose first text fails. mended: those of them that a sample mends.

    once_s, served_s, all_s: processor time of one try, of the service's tries, and of all temperatures.
    """

    windows: int = 0
    failing: int = 0
    mended: int = 0
    once_s: float = 0.0
    served_s: float = 0.0
    all_s: float = 0.0

    def add(self, recognizer: WhisperRecognizer, window: Window, options: Options) -> None:
        """Compute a window in the three ways."""
        self.windows += 1
        with stopwatch() as once:
            (first,) = recognizer.compute([window], replace(UNCHECKED, language=options.language))
        with stopwatch() as served:
            recognizer.compute([window], options)
        self.once_s += once[0]
        self.served_s += served[0]
        self.all_s += once[0]
        if passes(first, options):
            return
        self.failing += 1
        with stopwatch() as full:
            temperature = self._sample(recognizer, window, options)
        self.all_s += full[0]
        if not first.condensed:  # the first temperature of these is the same try again
            self.all_s -= once[0]
        self.mended += temperature is not None and temperature > 0

    @staticmethod
    def _sample(recognizer: WhisperRecognizer, window: Window, options: Options) -> float | None:
        """The temperature at which the text of the full window passes or is silence; None if none does."""
        model = recognizer.model
        encoded = model.encode(window.samples, full=True)
        prompt = model.prompt(options, None if options.language is None else Language(options.language))
        for temperature in options.temperatures:
            output = model.transcribe(encoded, prompt, options, temperature, TOKENS_PER_S, never)
            if passes(output, options) or is_silence(output, options):
                return temperature
        return None


@contextmanager
def stopwatch() -> Iterator[list[float]]:
    """A list that gets the processor time of the `with` block, in seconds."""
    taken: list[float] = []
    begin = time.process_time()
    yield taken
    taken.append(time.process_time() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", help="manifests, local folders in the hub's formats, or hub ids")
    parser.add_argument("--model_dir", required=True, help="artifact folder of a Whisper model")
    parser.add_argument("--backend", choices=tuple(BACKENDS), default=ONNX_INT8)
    parser.add_argument("--language", required=True, help="ISO 639-1 code of the speech")
    parser.add_argument("--limit", type=int, help="use only the first LIMIT clips of each set")
    arguments = parser.parse_args()
    try:
        model = open_model(find_model_folder(arguments.model_dir, arguments.backend))
        recognizer = load_recognizer(model, arguments.backend, threads=1)
        if not isinstance(recognizer, WhisperRecognizer):
            raise ArtifactError(f"{arguments.model_dir} is not a Whisper model: only these have second tries")
        options = options_for(recognizer, arguments.language)
        lines = []
        for name in arguments.data:
            rows, tries = load_eval_set(name, arguments.limit), Tries()
            for index in tqdm(range(len(rows)), unit="clip", desc=name, disable=None):
                for window in recognizer.windows(rows.samples(index, recognizer.rate_hz), options):
                    tries.add(recognizer, window, options)
            once_s = max(tries.once_s, 1e-9)
            lines.append(
                [
                    name,
                    *map(str, (tries.windows, tries.failing, tries.mended)),
                    f"{tries.once_s:.1f}",
                    f"{tries.served_s / once_s:.2f}",
                    f"{tries.all_s / once_s:.2f}",
                ]
            )
    except (ArtifactError, DataError) as error:
        sys.exit(str(error))
    head = ["set", "windows", "failing", "mended by a sample", "one try, s", "as served / one try", "all / one try"]
    print(table(head, lines))


if __name__ == "__main__":
    main()
