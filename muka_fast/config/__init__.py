"""What the user asked for: the recipe's schema, and recipes read from YAML and flags."""
