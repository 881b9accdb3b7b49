import gc
import platform
import subprocess
import sys
import weakref

import pytest

from muka_fast.memory import release


class Node:
    def __init__(self):
        self.itself = self


def test_what_only_refers_to_itself_is_freed():
    gc.disable()
    try:
        node = Node()
        watched = weakref.ref(node)
        del node
        assert watched() is not None
        release()
        assert watched() is None
    finally:
        gc.enable()


KEPT = """
import sys
import numpy as np
from muka_fast.memory import map_large_blocks

def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS"))

if sys.argv[1] == "mapped":
    map_large_blocks()
large = np.ones(30_000_000, dtype=np.uint8)
del large  # from here on glibc would take blocks of up to 30 MB from the heap
before = resident()
blocks = [np.ones(2_000_000 if n % 2 else 1000, dtype=np.uint8) for n in range(200)]
blocks = blocks[::2]  # the small ones between the large stay
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator is glibc's")
@pytest.mark.parametrize(("setting", "most"), [("mapped", 50_000), ("as it is", 10**9)])
def test_large_blocks_go_back_to_the_system_from_between_small_ones(setting, most):
    done = subprocess.run([sys.executable, "-c", KEPT, setting], capture_output=True, text=True, check=True)
    assert int(done.stdout) < most
    assert setting == "mapped" or int(done.stdout) > 150_000
