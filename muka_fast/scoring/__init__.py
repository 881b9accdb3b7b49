"""All teachers over all texts, into the score store.

* ``adaptive``: adaptive passes over a window of texts
* ``deterministic``: teachers without dropout passes, run over texts
* ``onnx_teacher``: a teacher's deterministic part in ONNX Runtime, cached
* ``score_pool``: a score store filled, with fixed or adaptive passes
* ``store``: Parquet shards beside a manifest, resumable
* ``teacher_pool``: teachers in memory, one or several at a time
"""
