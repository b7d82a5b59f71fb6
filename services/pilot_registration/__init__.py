"""Owns the registry of parties.

Hears: nothing.
Says: PartyRegistered.
"""
