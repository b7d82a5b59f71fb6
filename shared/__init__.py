"""What every service builds on; nothing in here knows a service."""
