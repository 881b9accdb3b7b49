import gc
import weakref

from muka_fast.runtime.memory import free_memory


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
        free_memory()
        assert watched() is None
    finally:
        gc.enable()
