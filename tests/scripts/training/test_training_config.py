import pytest
import torch

from scripts.training.training_config import precision


@pytest.mark.parametrize(
    ("cuda", "cuda_bf16", "cpu_bf16", "expected"),
    [
        (True, True, False, "bf16"),
        (True, False, True, "fp16"),
        (False, True, True, "bf16"),
        (False, True, False, "fp32"),
    ],
)
def test_precision_is_what_the_machine_computes_in(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, cuda_bf16: bool, cpu_bf16: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: cuda_bf16)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": cpu_bf16})
    assert precision("auto") == expected
    assert [precision(wanted) for wanted in ("fp32", "bf16", "fp16")] == ["fp32", "bf16", "fp16"]


def test_precision_is_found_on_this_machine() -> None:
    assert precision("auto") in ("fp32", "bf16", "fp16")
