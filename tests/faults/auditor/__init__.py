"""Reads stores and topics as documented in docs/formats.md and says what is wrong; imports no product code.

Standard library, pymongo and aiokafka only: whatever the product believes about itself is not believed here.
"""
