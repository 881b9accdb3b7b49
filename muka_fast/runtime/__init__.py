"""This machine and its processes: devices, distributed runs, progress, files, memory, shared array functions."""
