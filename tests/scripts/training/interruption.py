"""Ends a training in the middle, as Ctrl-C does."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import DefaultFlowCallback


@contextmanager
def interrupted_after(step: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In this context, every training raises KeyboardInterrupt at the end of this step."""
    end_of_step: Callable[..., TrainerControl] = DefaultFlowCallback.on_step_end

    def interrupt(
        callback: DefaultFlowCallback,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **more: Any,
    ) -> TrainerControl:
        if state.global_step == step:
            raise KeyboardInterrupt
        return end_of_step(callback, args, state, control)

    with monkeypatch.context() as patch:
        patch.setattr(DefaultFlowCallback, "on_step_end", interrupt)
        yield
