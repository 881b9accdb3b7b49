import numpy as np
import pytest

from muka_fast.bench.subprocesses import run_command
from muka_fast.errors import MachineError


@pytest.mark.slow
def test_run_command_measures_the_peak_of_the_command_alone():
    held = np.ones(60_000_000)  # 480 MB in this process
    small = run_command(["-S", "-c", "print('hi')"], "test")
    large = run_command(["-S", "-c", "x = b'1' * 300_000_000"], "test")
    assert small.output == "hi\n"
    assert small.seconds > 0
    assert small.peak_bytes < 1e8 < held.nbytes
    assert 3e8 < large.peak_bytes < 4e8


def test_run_command_raises_the_error_of_the_command():
    with pytest.raises(MachineError, match="a measured command failed: error: broken"):
        run_command(["-c", "import sys; sys.exit('error: broken\\nfix: repair')"], "test")
    with pytest.raises(MachineError, match="a measured command failed: no message on stderr"):
        run_command(["-c", "import sys; sys.exit(3)"], "test")
