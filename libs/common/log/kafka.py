"""The log in Apache Kafka: writing to it, reading from it, its topics."""

from libs.common.log.kafka_producer import Producer
from libs.common.log.kafka_reader import KafkaReader
from libs.common.log.kafka_topics import check_topics, ensure_topics

__all__ = ["KafkaReader", "Producer", "check_topics", "ensure_topics"]
