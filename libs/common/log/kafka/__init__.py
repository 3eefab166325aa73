"""The log in Apache Kafka: producer, reader and topics."""

from libs.common.log.kafka.producer import Producer
from libs.common.log.kafka.reader import KafkaReader
from libs.common.log.kafka.topics import check_topics, ensure_topics

__all__ = ["KafkaReader", "Producer", "check_topics", "ensure_topics"]
