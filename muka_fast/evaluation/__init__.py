"""Metrics, and how a run is recorded and shown.

* ``calibration``: temperature scaling without labels, expected calibration error
* ``card_metadata``: the header of the model card, for the hub
* ``drift``: new texts compared with the pool
* ``drift_record``: the records of drift, one of them in ``run.json``
* ``drift_report``: the page of ``muka-fast watch``
* ``evaluation_record``: the part of ``run.json`` on labelled texts
* ``histogram``: histograms over 0…1
* ``html_report``: ``report.html``
* ``html_summary``: a run as a small HTML table
* ``metrics``: accuracy, macro-F1, metrics by class, metrics of the selection, fidelity
* ``model_card``: the output's ``README.md``
* ``record_base``: the base of the record's parts, and the effect of given labels
* ``rendering``: fill the templates of ``templates/``
* ``run_record``: the schema of ``run.json``
* ``selection_record``: its part on the selection of teachers
* ``selection_stats``: statistics of the selection for ``run.json``
* ``svg_charts``: charts as inline SVG
* ``tables``: tables for the terminal and in Markdown, and single lines
"""
