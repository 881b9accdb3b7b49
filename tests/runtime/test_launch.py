import pytest

from muka_fast.runtime.launch import Launch, leave_stale_launch, read_launch

WHOLE = {"WORLD_SIZE": "4", "RANK": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}


def test_all_variables_together_are_a_launch():
    given = dict(WHOLE)
    assert read_launch(given) == Launch(rank=2, local_rank=1, world_size=4)
    assert leave_stale_launch(given) == ""
    assert given == WHOLE


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"MASTER_ADDR": None}, "MASTER_ADDR is not set"),
        ({"MASTER_PORT": ""}, "MASTER_PORT is not set"),
        ({"LOCAL_RANK": None, "RANK": None}, "RANK and LOCAL_RANK are not set"),
        ({"RANK": "first"}, "RANK is not set"),
        ({"WORLD_SIZE": "many"}, "WORLD_SIZE is not set"),
        ({"RANK": "4"}, "RANK is not below it"),
        ({name: None for name in WHOLE if name != "WORLD_SIZE"}, "are not set"),
    ],
)
def test_variables_that_no_launcher_set_are_removed_with_a_message(changed, reason):
    given = {name: value for name, value in (WHOLE | changed).items() if value is not None} | {"HOME": "/"}
    size = given["WORLD_SIZE"]
    message = leave_stale_launch(given)
    assert message.startswith(f"WORLD_SIZE is {size}, but ")
    assert reason in message
    assert given == {"HOME": "/"}
    assert read_launch(given) == Launch()


@pytest.mark.parametrize("given", [{}, {"WORLD_SIZE": "1"}, {"WORLD_SIZE": ""}, {"WORLD_SIZE": "", "RANK": ""}])
def test_one_process_needs_no_message(given):
    assert leave_stale_launch(given) == ""
    assert read_launch(given) == Launch()


@pytest.mark.parametrize(("value", "local"), [("3", 3), ("", 0), ("x", 0)])
def test_the_gpu_of_a_single_process_is_its_local_rank(value, local):
    assert read_launch({"LOCAL_RANK": value}).local_rank == local
