import torch

from muka_fast.bench.peaks import MachinePeaks


def test_measure_times_a_product_and_a_copy():
    peaks = MachinePeaks.measure(torch.device("cpu"), matmul_shape=(8, 32, 64), copy_elements=1024)
    assert peaks.matmul_shape == (8, 32, 64)
    assert set(peaks.matmul) == {"fp32"}
    assert min(peaks.matmul["fp32"], peaks.copy) > 0


def test_update_keeps_the_larger_speeds():
    speeds = iter([({"fp32": 2.0}, 9.0), ({"fp32": 5.0}, 1.0)])
    peaks = MachinePeaks({"fp32": 3.0}, 4.0, (1, 2, 3), lambda: next(speeds))
    peaks.update()
    assert (peaks.matmul, peaks.copy) == ({"fp32": 3.0}, 9.0)
    peaks.update()
    assert (peaks.matmul, peaks.copy) == ({"fp32": 5.0}, 9.0)
    fixed = MachinePeaks({"fp32": 3.0}, 4.0, (1, 2, 3))
    fixed.update()
    assert fixed.matmul == {"fp32": 3.0}
