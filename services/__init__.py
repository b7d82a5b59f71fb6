"""One package per service, each with its own MongoDB store; none imports another."""
