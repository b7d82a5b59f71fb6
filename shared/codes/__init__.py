"""The country's codes as pure functions: each names its standard."""
