"""Real clients against a real server: ours, or Apache Kafka to prove the suites themselves."""
