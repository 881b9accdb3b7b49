"""``muka-fast bench``: the throughput of a user's own models, beside baselines and the machine's roofline.

* ``inputs``: the models and texts that are measured; ``baselines``, ``muki_reference``: other implementations.
* ``timer``, ``peaks``: interleaved timing, the machine's peaks.
* ``serving_runtimes``, ``server``, ``subprocesses``: runtimes that serve a student, processes, commands.
* ``suites/``: one suite per file; ``runner`` runs them.
* ``results``, ``schema_v1``, ``tables``, ``plots``: the JSON results, their former version, Markdown, figures.

The border to the folder ``benchmarks/`` of the repository: a suite that every user can run on their own models stands
here and is installed with the package. Scripts behind this project's own claims (accuracy of the methods, adaptive
passes, compiled kernels, a GPU session), their results and the generated documents stand in ``benchmarks/``. These
scripts may import this package; nothing here imports them.
"""
