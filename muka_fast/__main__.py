"""``python -m muka_fast``."""

from muka_fast.cli import main

main()
