"""Metrics, and how a run is shown: tables, report, model card."""
