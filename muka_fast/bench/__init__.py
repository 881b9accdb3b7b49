"""Throughput of scoring, training and serving, beside baselines and the machine's measured peaks.

* ``baselines``: the ways to run K dropout passes that the suite ``scoring`` compares with
* ``hand_packed``: the strongest such way in PyTorch's own operations
* ``inputs``: the teachers, student and texts that are measured
* ``muki_reference``: the published MUKI pipeline in plain PyTorch, a program of its own
* ``peaks``: the machine's peak speed of products and copies, and rooflines
* ``plots``: drawings of the results
* ``results``: the results file: written, read, compared with an earlier one
* ``runner``: the suites by name, run one after the other
* ``schema_v1``: results files of schema version 1, read as today's
* ``server``: a process that serves one runtime, and the requests to it
* ``serving_runtimes``: the runtimes that the suite ``serving`` compares
* ``subprocesses``: commands in processes of their own: duration and peak memory
* ``suites``: the suites, one file each
* ``tables``: the results as tables
* ``timer``: cases timed interleaved: set-up, warm-up, medians
"""
