import pytest

from muka_fast.cli import demo
from muka_fast.errors import OutputError


@pytest.mark.slow
def test_the_demo_plays_from_start_to_end_and_again(tmp_path, monkeypatch, capsys):
    for name, size in (("TEACHER_TEXTS", 64), ("POOL_TEXTS", 96), ("TEST_TEXTS", 64)):
        monkeypatch.setattr(demo, name, size)
    monkeypatch.setattr(demo, "RECIPE", demo.RECIPE.replace("epochs: 12", "epochs: 1"))
    record = demo.run(tmp_path / "demo")
    assert record.texts.used == 96
    assert len(record.labels) == 32
    printed = capsys.readouterr().out
    for part in ("teacher electra alone", "oracle", "student", "where the time went", "next:", " → "):
        assert part in printed
    assert (tmp_path / "demo" / "merged" / "model.safetensors").exists()
    with pytest.raises(OutputError, match="not empty"):
        demo.run(tmp_path / "demo")
    # As if killed before its end, when teachers of another kind had been trained.
    (tmp_path / "demo" / "merged" / "run.json").unlink()
    monkeypatch.setattr(demo, "TEACHER_TEXTS", 96)
    demo.run(tmp_path / "demo", overwrite=True)
    assert (tmp_path / "demo" / "merged" / "run.json").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "recipe.yaml").write_text("teachers: []")
    with pytest.raises(OutputError, match="not empty"):
        demo.run(tmp_path / "other", overwrite=True)
