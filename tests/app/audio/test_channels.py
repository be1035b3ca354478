import numpy as np
import pytest
from numpy.typing import NDArray

from app.audio.blocks import Block, Samples
from app.audio.channels import FADE_S, Mixer
from tests.sounds import MODEL_HZ, speechlike, tone

BLOCK = 16_384


def mixed(*channels: NDArray[np.floating], size: int = BLOCK) -> Samples:
    sound = np.stack(channels, axis=1).astype(np.float32)
    mixer = Mixer()
    blocks = [Block(sound[start : start + size], MODEL_HZ) for start in range(0, len(sound), size)]
    return np.concatenate([mixer.mono(block).samples for block in blocks])


VOICE = speechlike(8.0)
OTHER = np.roll(speechlike(8.0)[::-1], 5_000) * 0.7
NOISE = np.random.default_rng(0).normal(0, 0.001, len(VOICE)).astype(np.float32)


@pytest.mark.parametrize("size", [320, 1_600, BLOCK, len(VOICE)])
def test_an_inverted_channel_does_not_silence_the_other(size: int) -> None:
    np.testing.assert_array_equal(mixed(VOICE, -VOICE, size=size), VOICE)


@pytest.mark.parametrize("gain", [0.8, 1.0, 1.25])
def test_a_channel_inverted_by_a_cable_is_not_exactly_the_other(gain: float) -> None:
    """It has a gain and a noise of its own: the mean would be far quieter, and noisier."""
    heard = mixed(VOICE, -gain * VOICE + NOISE)
    assert np.corrcoef(np.abs(heard), np.abs(VOICE))[0, 1] > 0.999
    assert heard.std() == pytest.approx(max(1.0, gain) * VOICE.std(), rel=0.01)


def test_people_in_different_channels_are_all_heard() -> None:
    np.testing.assert_allclose(mixed(VOICE, OTHER), (VOICE + OTHER) / 2, atol=1e-6)
    three = mixed(VOICE, OTHER, NOISE)
    np.testing.assert_allclose(three, (VOICE + OTHER + NOISE) / 3, atol=1e-6)


def test_people_who_take_turns_are_both_heard() -> None:
    """As in a call recorded with a channel for each side."""
    turn = (np.arange(len(VOICE)) // (2 * MODEL_HZ)) % 2
    left, right = VOICE * (turn == 0), VOICE * (turn == 1)
    np.testing.assert_allclose(mixed(left, right), VOICE / 2, atol=1e-6)


def test_an_inverted_pair_among_others_loses_nobody() -> None:
    """The mean still has the third voice, so it stays: who is in the pair cannot be told from the powers alone."""
    np.testing.assert_allclose(mixed(VOICE, -VOICE, OTHER), OTHER / 3, atol=1e-6)


def test_a_constant_in_the_channels_does_not_hide_their_sound() -> None:
    """Of opposite sign it would look like an inverted channel, of the same sign like none."""
    np.testing.assert_allclose(mixed(VOICE + 0.4, OTHER - 0.4), (VOICE + OTHER) / 2, atol=1e-6)
    np.testing.assert_allclose(mixed(VOICE + 0.4, 0.4 - VOICE), VOICE + 0.4, atol=1e-6)


def test_pauses_change_nothing() -> None:
    """Speech, 2 s of the noise of the line, in phase, and speech again: the decision stays, so the loudness does."""
    pause = slice(3 * MODEL_HZ, 5 * MODEL_HZ)
    left, right = VOICE.copy(), -VOICE
    left[pause] = right[pause] = NOISE[pause]
    np.testing.assert_array_equal(mixed(left, right, size=1_600), left)


def test_a_change_of_the_decision_is_faded() -> None:
    """A tone that is inverted in the second channel from 4 s on: no step is larger than the tone's own."""
    sound = tone(200, 8.0, MODEL_HZ)
    sign = np.where(np.arange(len(sound)) < 4 * MODEL_HZ, 1, -1)
    heard = mixed(sound, sign * sound, size=MODEL_HZ // 2)
    largest_step = np.abs(np.diff(sound)).max() + 1 / (FADE_S * MODEL_HZ) * 0.5
    assert np.abs(np.diff(heard)).max() <= largest_step
    np.testing.assert_allclose(heard[: 4 * MODEL_HZ], sound[: 4 * MODEL_HZ], atol=1e-6)
    np.testing.assert_allclose(heard[-MODEL_HZ:], sound[-MODEL_HZ:], atol=1e-6)


def test_silence_stays_silence() -> None:
    assert not mixed(np.zeros(MODEL_HZ), np.zeros(MODEL_HZ)).any()


def test_other_channels_begin_anew() -> None:
    """Of files joined to one, each is judged by itself."""
    mixer = Mixer()
    inverted = Block(np.stack([VOICE, -VOICE], axis=1), MODEL_HZ)
    three = Block(np.stack([VOICE, OTHER, NOISE], axis=1), MODEL_HZ)
    np.testing.assert_array_equal(mixer.mono(inverted).samples, VOICE)
    np.testing.assert_allclose(mixer.mono(three).samples, (VOICE + OTHER + NOISE) / 3, atol=1e-6)
    np.testing.assert_array_equal(mixer.mono(Block(VOICE[:, np.newaxis], MODEL_HZ)).samples, VOICE)


@pytest.mark.parametrize("frames", [0, 1, 6, 7, 8])
def test_very_short_blocks(frames: int) -> None:
    block = Block(np.full((frames, 2), 0.5, dtype=np.float32), MODEL_HZ)
    np.testing.assert_array_equal(Mixer().mono(block).samples, np.full(frames, 0.5))
