"""The only code that knows how Kafka, MongoDB, logging and telemetry are reached."""
