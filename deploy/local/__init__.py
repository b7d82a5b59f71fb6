"""The stack without Docker: real Apache Kafka, real mongod, the development issuer and the services as child processes."""
