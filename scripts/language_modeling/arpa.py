"""Writes n-gram models as ARPA files, which KenLM and other tools read."""

import math
from collections.abc import Sequence
from pathlib import Path

from scripts.language_modeling.kneser_ney import START, Order

LN_10 = math.log(10.0)
NEVER = -99.0
"""Decimal logarithm that ARPA files give to the start of a sentence, which is never predicted."""


def write_arpa(path: Path, names: Sequence[str], orders: Sequence[Order]) -> None:
    """Write the orders of a model. names: text of each id, those of `<unk>`, `<s>` and `</s>` included."""
    texts: list[list[str]] = []
    with path.open("w", encoding="utf-8") as file:
        file.write("\\data\\\n")
        file.writelines(f"ngram {number}={len(order)}\n" for number, order in enumerate(orders, 1))
        for number, order in enumerate(orders, 1):
            file.write(f"\n\\{number}-grams:\n")
            before = texts[-1] if texts else [""]
            texts.append(
                [
                    f"{before[prefix]} {names[token]}".strip()
                    for prefix, token in zip(order.prefix.tolist(), order.token.tolist(), strict=True)
                ]
            )
            last = number == len(orders)
            for index, (text, log_probability, log_backoff) in enumerate(
                zip(texts[-1], order.log_probability.tolist(), order.log_backoff.tolist(), strict=True)
            ):
                decimal = NEVER if number == 1 and index == START else log_probability / LN_10
                file.write(f"{decimal:.6f}\t{text}" + ("\n" if last else f"\t{log_backoff / LN_10:.6f}\n"))
        file.write("\n\\end\\\n")
