"""The benchmark suites, one a file."""
