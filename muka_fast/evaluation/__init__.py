"""Metrics, and how a run is recorded and shown.

* ``calibration``: temperature scaling without labels, expected calibration error
* ``html_report``: ``report.html``
* ``markdown``: Markdown tables
* ``metrics``: accuracy, macro-F1, metrics by class, metrics of the selection
* ``run_record``: the schema of ``run.json``
* ``selection_stats``: statistics of the selection for ``run.json``
* ``svg_charts``: charts as inline SVG
* ``tables``: tables for the terminal, and the model card
"""
