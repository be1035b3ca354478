"""The Muon optimizer for training from scratch: it gets further than AdamW in the same number of steps."""

from typing import Any

import torch
from torch import nn


class MuonAndAdamW(torch.optim.Optimizer):
    """Muon for the weight matrices of hidden layers; AdamW for embeddings, convolutions, norms, biases and the head.

    Muon orthogonalizes the update of a matrix, so that it is equally large in all directions (K. Jordan et al., "Muon:
    an optimizer for hidden layers in neural networks", 2024). Its updates are scaled to the size of AdamW's, so that
    both use the same learning rate (J. Liu et al., "Muon is scalable for LLM training", 2025).
    """

    def __init__(self, model: nn.Module, lr: float, weight_decay: float) -> None:
        matrices: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                if parameter.ndim == 2 and not name.startswith("lm_head") and ".embed_" not in name:
                    matrices.append(parameter)
                else:
                    others.append(parameter)
        self.parts: tuple[torch.optim.Optimizer, ...] = (
            torch.optim.Muon(matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=lr, weight_decay=0.0),
        )
        super().__init__(self._groups(), {})

    def _groups(self) -> list[dict[str, Any]]:
        return [group for part in self.parts for group in part.param_groups]

    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # the base class may return a loss
        """Make one step with the current gradients. `closure` is not supported and must be None."""
        assert closure is None
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = self._groups()  # loading replaced the groups, in which the scheduler sets the learning rate
