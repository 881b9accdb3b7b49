"""The recipe: its schema, and recipes read from YAML and options.

* ``loading``: recipes from YAML files and overrides, with errors that name the key
* ``recipe``: the schema of all sections but ``selection``
"""
