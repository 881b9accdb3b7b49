"""The recipe: its schema, and recipes read from YAML and options.

* ``loading``: recipes from YAML files and overrides, with errors that name the key
* ``methods``: the base of the methods' schemas of ``selection``, their registry, and plug-ins
* ``portable``: names of inputs without the paths of the machine
* ``recipe``: the schema of a whole recipe, and of passes and training
* ``section``: the base of all sections
* ``specs``: the schema of the sections that name models and texts
"""
