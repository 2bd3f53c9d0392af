"""Kafka as a framework: KRaft brokers, each with a reservation and a volume of its own."""

from mesoslite_kafka.scheduler import Kafka

__all__ = ["Kafka"]
