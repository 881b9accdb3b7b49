import pytest

from muka_fast.bench.suites import end_to_end
from muka_fast.bench.tables import suite_table


@pytest.mark.slow
def test_a_whole_run_beside_the_muki_reference(run_inputs, command_runner):
    found = end_to_end.measure_suite(run_inputs(passes=2, count=40), baseline_texts=20, runner=command_runner)
    assert list(found["cases"]) == ["muka-fast, pool", "muka-fast, muka, K ≤ 2", "MUKI reference, K = 2"]
    assert found["baselines"] == ["MUKI reference, K = 2"]
    reference = found["cases"]["MUKI reference, K = 2"]
    assert reference["measured_on"] == 20
    assert reference["peak_bytes"] > 1e7
    assert reference["accuracy"] == found["cases"]["muka-fast, muka, K ≤ 2"]["accuracy"]
    # Twice the texts: the seconds of the loop are counted twice, those of the start once.
    loop = sum(reference["stages"].values()) / 2
    assert abs(reference["total_seconds"] - reference["measured_seconds"] - loop) < 1e-9
    assert 0 < loop < reference["measured_seconds"]
    table = suite_table("end-to-end", found)[1]
    assert table[-1][-1] == "measured on 20 texts and scaled; accuracy of the muka-fast student of method muka"
    assert table[-1][-2] == "1.0×"
