import numpy as np
import pytest

from app.families.whisper.padding import CONDENSED_POSITIONS, KEPT_POSITIONS, condensed_layout, full_layout

LONGEST = 1500


@pytest.mark.parametrize("audible", [0, 1, 75, 300, 1000, 1435])
def test_the_audible_positions_are_kept_and_the_weights_add_up(audible: int) -> None:
    layout = condensed_layout(audible, LONGEST)
    kept = audible + KEPT_POSITIONS
    assert len(layout.positions) == len(layout.log_weights) == kept + CONDENSED_POSITIONS < LONGEST
    assert (layout.positions[:kept] == np.arange(kept)).all()
    assert (layout.log_weights[:kept] == 0).all()
    assert (np.diff(layout.positions) > 0).all()
    assert layout.positions.max() < LONGEST
    assert np.exp(layout.log_weights.astype(np.float64)).sum() == pytest.approx(LONGEST, rel=1e-6)
    assert layout.positions.dtype == np.int64
    assert layout.log_weights.dtype == np.float32
    assert not layout.is_full


@pytest.mark.parametrize("audible", [1436, 1484, 1500])
def test_a_clip_that_fills_the_window_has_all_positions(audible: int) -> None:
    layout = condensed_layout(audible, LONGEST)
    assert (layout.positions == full_layout(LONGEST).positions).all()
    assert layout.is_full
