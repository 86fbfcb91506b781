"""anomalyd: streaming anomaly detection on Kafka, from topic to explained alert."""

__version__ = "0.1.0"
