import errno

import pytest

from muka_fast.errors import CheckFailed, MachineError
from muka_fast.export.quantization import to_half, to_int8


def test_a_full_disk_is_no_fault_of_the_form(tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("onnxruntime.transformers.float16.convert_float_to_float16", full)
    monkeypatch.setattr("onnx.load", full)
    for write in (to_half, to_int8):
        with pytest.raises(MachineError, match="the disk is full"):
            write(tmp_path / "model.onnx", tmp_path / "other.onnx")


def test_what_the_converters_cannot_do_is_a_failed_check(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"nonsense")
    for write in (to_half, to_int8):
        with pytest.raises(CheckFailed, match="it cannot be converted"):
            write(tmp_path / "model.onnx", tmp_path / "other.onnx")
