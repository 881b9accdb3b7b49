"""The recipe: its schema, and recipes read from YAML and options.

* ``loading``: recipes from YAML files and overrides, with errors that name the key
* ``methods``: the base of the methods' schemas of ``selection``, their registry, and plug-ins
* ``recipe``: the schema of all sections but ``selection``
"""
