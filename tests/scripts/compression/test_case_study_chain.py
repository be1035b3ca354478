import pytest

from scripts.compression.case_study_chain import CASE_STUDY, chain_rows, factors
from scripts.compression.plan import TEACHER
from scripts.compression.study import Study
from tests.scripts.compression.plans import FOCUS


def test_the_chain_is_that_of_the_case_study(study: Study) -> None:
    rows = chain_rows(study)
    assert [(row["point"], row["backend"]) for row in rows] == [
        (TEACHER, "pytorch"),
        (f"{FOCUS}-plain", "pytorch"),
        (FOCUS, "pytorch"),
        (FOCUS, "pytorch_int8"),
        (FOCUS, "onnx"),
        (FOCUS, "onnx_int8"),
    ]
    assert len(rows) == len(CASE_STUDY)
    assert [row["size_bytes"] for row in rows] == [20e6, 20e6, 20e6, 2.5e6, 4e6, 1e6]
    assert factors(rows) == pytest.approx((20, 7.5))
    assert factors([]) == (None, None)
