"""Throughput as a sceptic would measure it: rows beside their peers, taking turns, against the machine's ceilings."""
