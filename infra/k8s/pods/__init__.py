"""Runs the Pods of an overlay as containers on this machine, without a cluster: what test-pods.py is made of."""
