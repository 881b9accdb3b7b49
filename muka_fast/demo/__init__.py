"""A demonstration that needs nothing but this package: its own texts, teachers and student."""

from muka_fast.demo.play import run

__all__ = ["run"]
