"""The pipeline of the SMACK talk: events -> Kafka -> Spark -> Cassandra, counted exactly."""
