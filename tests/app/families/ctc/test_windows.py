import numpy as np
import pytest
from numpy.typing import NDArray

from app.families.ctc.windows import Framing, Stitcher, cut, stitch
from app.recognizer import Window

WAV2VEC2 = Framing(hop=320, receptive_field=400)
BLANK = 0


def emissions_of(samples: NDArray[np.float32], framing: Framing = WAV2VEC2) -> NDArray[np.float32]:
    """A model without context: a frame's emissions are a fixed function of its samples."""
    frames = [samples[i * framing.hop :][: framing.receptive_field] for i in range(framing.frames(len(samples)))]
    return np.array([[frame.mean(), frame.std(), frame[0]] for frame in frames], dtype=np.float32).reshape(-1, 3)


def noise(samples: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(samples).astype(np.float32)


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (399, 0), (400, 1), (719, 1), (720, 2), (16_000, 49)])
def test_frames_of_convolutions_without_padding(samples: int, frames: int) -> None:
    assert WAV2VEC2.frames(samples) == frames


@pytest.mark.parametrize("samples", [400, 16_000, 32_079, 32_080, 32_400, 100_000, 123_457])
def test_stitched_windows_are_the_whole_clip(samples: int) -> None:
    clip = noise(samples)
    windows = cut(clip, WAV2VEC2, window_frames=100, overlap_frames=20)
    stitched = stitch(windows, [emissions_of(window.samples) for window in windows], WAV2VEC2.hop, 20, BLANK)
    np.testing.assert_array_equal(stitched, emissions_of(clip))


def test_no_window_is_longer_than_asked_and_neighbours_overlap_as_asked() -> None:
    windows = cut(noise(200_000), WAV2VEC2, window_frames=100, overlap_frames=20)
    assert {WAV2VEC2.frames(len(window.samples)) for window in windows[:-1]} == {100}
    assert 20 < WAV2VEC2.frames(len(windows[-1].samples)) <= 100
    assert [window.start for window in windows] == [80 * 320 * i for i in range(len(windows))]


def test_a_clip_of_one_window_is_not_copied() -> None:
    clip = noise(16_000)
    (window,) = cut(clip, WAV2VEC2, window_frames=100, overlap_frames=20)
    assert window.samples.base is clip


def test_a_clip_shorter_than_a_frame_has_no_windows() -> None:
    assert cut(noise(399), WAV2VEC2, 100, 20) == []
    assert len(stitch([], [], 320, 20, BLANK)) == 0


def test_the_seam_lies_where_both_windows_are_most_sure_of_a_blank() -> None:
    windows = [Window(noise(1), 0), Window(noise(1), 12 * 320)]
    before = np.full((20, 2), -1.0, dtype=np.float32)
    after = np.full((20, 2), -2.0, dtype=np.float32)
    before[16, BLANK] = after[4, BLANK] = 0.0  # frame 16 of the clip, in both
    stitched = stitch(windows, [before, after], 320, 8, BLANK)
    assert len(stitched) == 32
    np.testing.assert_array_equal(stitched[:16], before[:16])
    np.testing.assert_array_equal(stitched[16:], after[4:])


def test_the_seam_keeps_away_from_the_windows_edges() -> None:
    windows = [Window(noise(1), 0), Window(noise(1), 12 * 320)]
    before = np.full((20, 2), -1.0, dtype=np.float32)
    after = np.full((20, 2), -2.0, dtype=np.float32)
    before[12, BLANK] = after[0, BLANK] = 0.0  # the best place has no context on the left in `after`
    stitched = stitch(windows, [before, after], 320, 8, BLANK)
    changed = int(np.flatnonzero(stitched[:, 1] == -2.0)[0])
    assert 14 <= changed < 18


def test_no_more_is_kept_than_the_next_window_may_change() -> None:
    clip = noise(100_000)
    stitcher = Stitcher(20, BLANK)
    parts: list[NDArray[np.float32]] = []
    for window in cut(clip, WAV2VEC2, window_frames=100, overlap_frames=20):
        frames = emissions_of(window.samples)
        parts += stitcher.add(window.start // WAV2VEC2.hop, frames)
        assert stitcher._tail is not None
        assert len(stitcher._tail) == 20
        assert stitcher._tail.base is None, "a view would keep the window"
    np.testing.assert_array_equal(np.concatenate([*parts, *stitcher.finish()]), emissions_of(clip))
    assert stitcher.finish() == []
