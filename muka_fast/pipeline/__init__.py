"""A whole run, from a recipe to a finished folder.

* ``amalgamate``: the run in order: the public ``amalgamate`` and ``score``
* ``ask``: texts of a run's pool whose label would help most
* ``calibrate``: the trained student's temperature, fitted and folded into its weights
* ``estimate``: time and memory from a short probe
* ``estimator``: the amalgamation as a scikit-learn estimator
* ``evaluate``: a classifier, its teachers and their selection on labelled texts
* ``hub_files``: the files of a student that go to a model hub
* ``inputs``: models and texts in memory, written for a run
* ``load``: a classifier from any folder or hub id: export, ensemble or checkpoint
* ``plan``: everything that a recipe names, found and checked
* ``predict``: predictions for the rows of a table, chunk by chunk
* ``push``: a finished student uploaded to a model hub
* ``result``: a finished run in Python: predictions, metrics, a summary for notebooks
* ``run_artifacts``: a finished run read back, and inputs that have changed since
* ``run_directory``: the output folder: started, resumed, refused, finalized
* ``score_parts``: scores in parts: array jobs, tasks of Ray
* ``similar_labels``: classes of different teachers that may mean the same, and the recipe lines that merge them
* ``stages``: the stages of a run: scoring, selection, training, record
* ``watch``: new texts compared with the pool of a run
"""
