"""A chat server: rooms are logs, PostgreSQL is the truth, RabbitMQ the wire."""
