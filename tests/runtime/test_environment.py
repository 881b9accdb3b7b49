import platform
from importlib.metadata import version

import torch

from muka_fast.runtime.environment import device_name, memory, versions


def test_versions_name_absent_packages():
    found = versions(("numpy", "no-such-package-of-this-name"))
    assert found == {
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "no-such-package-of-this-name": "not installed",
    }


def test_device_name_of_the_cpu_has_its_threads():
    assert device_name(torch.device("cpu")) == f"cpu, {torch.get_num_threads()} threads"


def test_memory_is_stated_in_gib_or_unknown(monkeypatch):
    assert memory().endswith(" GiB unused")
    monkeypatch.delattr("os.sysconf")
    assert memory() == "unknown"
