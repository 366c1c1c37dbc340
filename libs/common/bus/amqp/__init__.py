"""The bus over RabbitMQ (3.10 or newer, no plugins). The only code that knows the AMQP client."""

from libs.common.bus.amqp.bus import AmqpBus

__all__ = ["AmqpBus"]
