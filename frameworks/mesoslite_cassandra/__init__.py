"""Cassandra as a framework: nodes that join one at a time and come back on their data."""

from mesoslite_cassandra.scheduler import Cassandra

__all__ = ["Cassandra"]
