"""Trials of the alerts on a local stack: `make alerts-test`."""
