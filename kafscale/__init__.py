"""KafScale: a Kafka broker that keeps nothing on its own disk."""

__version__ = "0.1.0"
