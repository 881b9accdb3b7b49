"""The run, from a recipe to a finished folder."""
