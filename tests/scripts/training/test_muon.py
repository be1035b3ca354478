from pathlib import Path

import torch
from torch import nn

from app.families.whisper.checkpoint import load_checkpoint
from scripts.training.muon import MuonAndAdamW
from tests.checkpoints import tiny_model
from tests.whisper_checkpoints import make_whisper


class TestMuonAndAdamW:
    def test_muon_takes_the_matrices_inside(self) -> None:
        model = tiny_model("wav2vec2", "group")
        muon, adamw = MuonAndAdamW(model, 1e-3, 0.01).parts
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        inside, others = ([names[id(p)] for p in part.param_groups[0]["params"]] for part in (muon, adamw))
        assert sorted(inside + others) == sorted(names.values())
        assert all(name.endswith(".weight") and ("layers" in name or "projection" in name) for name in inside)
        assert "lm_head.weight" in others
        assert not any(name.endswith("_proj.weight") for name in others)

    def test_embeddings_are_no_matrices_of_hidden_layers(self, checkpoints: Path) -> None:
        model = load_checkpoint(make_whisper(checkpoints))
        muon, adamw = MuonAndAdamW(model, 1e-3, 0.01).parts
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        inside, others = ([names[id(p)] for p in part.param_groups[0]["params"]] for part in (muon, adamw))
        assert all(".layers." in name and name.endswith(".weight") for name in inside)
        assert len(inside) == 2 * 6 + 2 * 10, "attention and feed-forward of two layers each"
        assert {"model.decoder.embed_tokens.weight", "model.decoder.embed_positions.weight"} <= set(others)

    def test_frozen_parameters_stay(self) -> None:
        model = tiny_model("wav2vec2", "group")
        model.requires_grad_(False)
        model.get_parameter("lm_head.weight").requires_grad_(True)
        model.get_parameter("wav2vec2.encoder.layers.0.attention.q_proj.weight").requires_grad_(True)
        assert [len(group["params"]) for group in MuonAndAdamW(model, 1e-3, 0.0).param_groups] == [1, 1]

    def test_it_learns(self) -> None:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))
        optimizer = MuonAndAdamW(model, 1e-2, 0.0)
        inputs = torch.randn(32, 8)
        targets = inputs[:, :4].sin()
        losses = []
        for _ in range(50):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(inputs), targets)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < losses[0] / 2

    def test_the_learning_rate_counts_also_after_loading(self) -> None:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 4))
        optimizer = MuonAndAdamW(model, 1e-2, 0.0)
        model(torch.randn(3, 4)).sum().backward()
        optimizer.step()
        saved = optimizer.state_dict()
        other = MuonAndAdamW(model, 1e-2, 0.0)
        other.load_state_dict(saved)
        before = [parameter.clone() for parameter in model.parameters()]
        for group in other.param_groups:
            group["lr"] = 0.0
        other.step()
        for parameter, old in zip(model.parameters(), before, strict=True):
            torch.testing.assert_close(parameter, old, rtol=0, atol=0)
        for group in other.param_groups:
            group["lr"] = 1e-2
        other.step()
        for parameter, old in zip(model.parameters(), before, strict=True):
            assert (parameter - old).abs().min() > 0, "both parts took a step"
