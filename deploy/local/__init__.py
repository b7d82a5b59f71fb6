"""The stack without Docker: real Apache Kafka, real mongod, the issuer and the services as child processes."""
