"""Results of the former schema are read with the names of this one."""

import json

from muka_fast.bench.results import read_results
from muka_fast.bench.schema_v1 import upgrade

FORMER = {
    "schema_version": 1,
    "kind": "bench",
    "device": "cpu",
    "quick": False,
    "ceilings": {"products_gflops": {"fp32": 5.0}, "copy_gigabytes": 7.0, "product": [1, 2, 3]},
    "suites": {
        "scoring": {
            "unit": "text",
            "against": ["authors", "by hand"],
            "settings": {"gflop_a_text_and_pass": 1.0, "texts": 3},
            "rows": {
                "authors": {"seconds": 2.0, "share_of_floor": 0.5, "bound_by": "products"},
                "by hand, no dropout": {"seconds": 1.0, "share_of_floor": 0.1, "bound_by": "bytes"},
                "engine, first look": {"missing": "no"},
                "engine, full": {"seconds": 0.5},
            },
        },
        "kernels": {
            "unit": "call",
            "against": [],
            "settings": {},
            "rows": {"first_row_attention, shared": {"seconds": 1}},
        },
    },
}


def test_upgrade_translates_names_and_keeps_figures():
    now = upgrade(FORMER)
    assert now["schema_version"] == 2
    assert now["peaks"] == {"matmul_gflops": {"fp32": 5.0}, "copy_gigabytes": 7.0, "matmul_shape": [1, 2, 3]}
    assert "ceilings" not in now
    scoring = now["suites"]["scoring"]
    assert scoring["baselines"] == ["MUKI reference", "batched PyTorch"]
    assert scoring["settings"] == {"gflop_per_text_and_pass": 1.0, "texts": 3}
    assert scoring["cases"] == {
        "MUKI reference": {"seconds": 2.0, "roofline_share": 0.5, "bound": "compute"},
        "batched PyTorch, no dropout": {"seconds": 1.0, "roofline_share": 0.1, "bound": "memory"},
        "engine, deterministic pass": {"missing": "no"},
        "engine, full": {"seconds": 0.5},
    }
    assert list(now["suites"]["kernels"]["cases"]) == ["cls_attention, shared"]


def test_read_results_upgrades_a_file_of_the_former_schema(tmp_path):
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(FORMER))
    assert read_results(path) == upgrade(FORMER)
