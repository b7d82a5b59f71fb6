"""Faults under load, and the auditor that says what they broke."""
