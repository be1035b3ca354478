from collections.abc import Callable

import numpy as np
import pytest

from scripts.training.augment import (
    LOSSY_FORMATS,
    RATE_HZ,
    AugmentationPolicy,
    Augmenter,
    Samples,
    add_noise,
    add_room,
    babble,
    band,
    change_voice,
    clip_peaks,
    colored_noise,
    filter_by,
    hum,
    random_tilt,
    rms,
    room_response,
    through_codec,
    through_telephone,
)
from tests.checkpoints import babbling

Change = Callable[[Samples, np.random.Generator], Samples]

CODECS = sorted(set(LOSSY_FORMATS))
CHANGES: dict[str, Change] = {
    "tilt": lambda samples, random: filter_by(samples, random_tilt(random)),
    "band": lambda samples, _: filter_by(samples, band(100.0, 3_000.0)),
    "room": lambda samples, random: add_room(samples, room_response(random)),
    "noise": lambda samples, random: add_noise(samples, colored_noise(random, len(samples), 1.0), 10.0),
    "hum": lambda samples, random: add_noise(samples, hum(random, len(samples)), 10.0),
    "babble": lambda samples, random: add_noise(samples, babble(random, len(samples), lambda: samples), 10.0),
    "clipping": lambda samples, _: clip_peaks(samples, 0.3),
    "telephone": lambda samples, _: through_telephone(samples, mu_law=False),
    "mu_law": lambda samples, _: through_telephone(samples, mu_law=True),
    "MP3": lambda samples, _: through_codec(samples, "MP3", "MPEG_LAYER_III"),
    "OPUS": lambda samples, _: through_codec(samples, "OGG", "OPUS"),
    "VORBIS": lambda samples, _: through_codec(samples, "OGG", "VORBIS"),
    "GSM610": lambda samples, _: through_codec(samples, "WAV", "GSM610"),
}
SPEECH = babbling(1.5, seed=1)
ALWAYS = AugmentationPolicy(voice=1, tilt=1, room=1, noise=1, clipping=1, band=1, codec=1)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def hard() -> Augmenter:
    """An augmenter that makes every change to every clip."""
    return Augmenter(ALWAYS, seed=0)


def band_power(samples: Samples, low_hz: float, high_hz: float) -> float:
    power = np.abs(np.fft.rfft(samples)) ** 2
    hertz = np.fft.rfftfreq(len(samples), 1 / RATE_HZ)
    return float(power[(hertz >= low_hz) & (hertz < high_hz)].sum())


def check(changed: Samples, length: int) -> None:
    assert changed.dtype == np.float32
    assert changed.shape == (length,)
    assert np.isfinite(changed).all()


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_keeps_length_and_kind_and_changes_something(change: Change, random: np.random.Generator) -> None:
    changed = change(SPEECH, random)
    check(changed, len(SPEECH))
    assert np.abs(changed - SPEECH).max() > 1e-3


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("length", [1, 2, 7, 399, 1_000])
def test_very_short_clips_and_silence_pass(change: Change, length: int, random: np.random.Generator) -> None:
    check(change(SPEECH[:length], random), length)
    quiet = change(np.zeros(length, np.float32), random)
    check(quiet, length)
    assert np.abs(quiet).max() < 1e-4


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_is_the_same_for_the_same_seed(change: Change) -> None:
    first, second = (change(SPEECH, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("factor", [0.87, 1.15])
def test_another_voice_is_shorter_and_higher_or_longer_and_lower(factor: float) -> None:
    tone = np.sin(2 * np.pi * 1_000 * np.arange(RATE_HZ) / RATE_HZ).astype(np.float32)
    changed = change_voice(tone, factor)
    check(changed, round(RATE_HZ / factor))
    peak_hz = np.abs(np.fft.rfft(changed)).argmax() * RATE_HZ / len(changed)
    assert peak_hz == pytest.approx(1_000 * factor, abs=2)


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 10.0, 35.0])
def test_noise_has_the_requested_level(snr_db: float, random: np.random.Generator) -> None:
    noise = colored_noise(random, len(SPEECH), 1.0)
    added = add_noise(SPEECH, noise, snr_db) - SPEECH
    assert 20 * np.log10(rms(SPEECH) / rms(added)) == pytest.approx(snr_db, abs=0.05)
    assert np.corrcoef(added, noise)[0, 1] > 0.999


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_noise_falls_with_its_exponent(exponent: float, random: np.random.Generator) -> None:
    noise = colored_noise(random, 10 * RATE_HZ, exponent)
    low, high = (band_power(noise, hertz, hertz * 1.25) / (hertz * 0.25) for hertz in (250.0, 4_000.0))
    assert np.log(low / high) / np.log(16) == pytest.approx(exponent, abs=0.1)


def test_hum_is_at_the_mains_frequency(random: np.random.Generator) -> None:
    spectrum = np.abs(np.fft.rfft(hum(random, RATE_HZ)))
    assert spectrum.argmax() == 50


def test_babble_holds_several_clips(random: np.random.Generator) -> None:
    asked = []

    def speech() -> Samples:
        asked.append(1)
        return SPEECH[: RATE_HZ // 4]

    assert len(babble(random, RATE_HZ, speech)) == RATE_HZ
    assert 3 <= len(asked) <= 6


@pytest.mark.parametrize("mu_law", [False, True])
def test_a_telephone_leaves_only_its_band(mu_law: bool, random: np.random.Generator) -> None:
    output = through_telephone(colored_noise(random, 2 * RATE_HZ, 0.0), mu_law)
    whole = band_power(output, 0, RATE_HZ)
    assert band_power(output, 4_000, RATE_HZ) < 1e-4 * whole
    assert band_power(output, 0, 150) < 1e-3 * whole
    assert band_power(output, 300, 3_400) > 0.9 * whole


def test_mu_law_has_few_steps_and_keeps_the_signal() -> None:
    plain, stepped = (through_telephone(SPEECH, mu_law) for mu_law in (False, True))
    assert np.corrcoef(plain, stepped)[0, 1] > 0.99
    assert np.abs(plain / rms(plain) - stepped / rms(stepped)).max() > 1e-3


def test_a_room_keeps_the_direct_sound_where_it_is() -> None:
    click = np.zeros(RATE_HZ, np.float32)
    click[1_000] = 0.5
    for seed in range(20):
        output = add_room(click, room_response(np.random.default_rng(seed)))
        assert np.abs(output[:1_000]).max() < 1e-6, "nothing precedes the direct sound"
        assert output[1_000] == pytest.approx(0.5, abs=1e-5)
        reverberation = np.linalg.norm(output[1_001:])
        assert 0.05 < reverberation <= 0.51, "0 to 15 dB below the direct sound"


def test_a_room_fades() -> None:
    for seed in range(20):
        response = room_response(np.random.default_rng(seed))
        tenth = len(response) // 10
        assert rms(response[-tenth:]) < 0.02 * rms(response[1 : 3 * tenth])


def test_clipped_peaks_are_flat() -> None:
    clipped = clip_peaks(SPEECH, 0.25)
    limit = 0.25 * np.abs(SPEECH).max()
    assert np.abs(clipped).max() == pytest.approx(limit)
    quiet = np.abs(SPEECH) < limit
    np.testing.assert_array_equal(clipped[quiet], SPEECH[quiet])


@pytest.mark.parametrize(("container", "subtype"), CODECS)
def test_a_codec_keeps_position_and_level_of_the_audio(container: str, subtype: str) -> None:
    decoded = through_codec(SPEECH, container, subtype, level=0.5)
    assert np.corrcoef(SPEECH, decoded)[0, 1] > 0.95
    assert rms(decoded) == pytest.approx(rms(SPEECH), rel=0.15)
    assert rms(decoded - SPEECH) > 1e-4, "it is lossy"


def test_the_augmenter_is_deterministic_for_a_seed() -> None:
    def run(seed: int) -> list[Samples]:
        augmenter = Augmenter(AugmentationPolicy(), seed)
        return [augmenter(SPEECH, lambda: SPEECH) for _ in range(6)] + [augmenter.no_speech(4_000)]

    first, same, other = run(1), run(1), run(2)
    for left, right in zip(first, same, strict=True):
        np.testing.assert_array_equal(left, right)
    assert any(len(left) != len(right) or (left != right).any() for left, right in zip(first, other, strict=True))
    assert len({samples.tobytes() for samples in first}) > 3, "the same clip differs each time"


def test_all_changes_together_stay_in_bounds(hard: Augmenter) -> None:
    for _ in range(8):
        changed = hard(SPEECH, lambda: SPEECH)
        check(changed, len(changed))
        assert len(SPEECH) / 1.16 < len(changed) < len(SPEECH) / 0.86
        assert rms(changed) > 0.01


@pytest.mark.parametrize("length", [1, 2, 7, 400])
def test_all_changes_take_short_clips_and_silence(hard: Augmenter, length: int) -> None:
    for samples in (SPEECH[:length], np.zeros(length, np.float32)):
        changed = hard(samples, lambda: SPEECH)
        check(changed, len(changed))


def test_an_empty_policy_changes_nothing() -> None:
    never = AugmentationPolicy(voice=0, tilt=0, room=0, noise=0, clipping=0, band=0, codec=0)
    np.testing.assert_array_equal(Augmenter(never, 0)(SPEECH, lambda: SPEECH), SPEECH)


def test_no_speech_is_noise_of_the_requested_length(hard: Augmenter) -> None:
    for length in (1, 3_199, 3_200, 3_201, 2 * RATE_HZ):
        check(hard.no_speech(length), length)
    assert rms(hard.no_speech(RATE_HZ)) > 0
