"""Owns what is known of every subject that can be evaluated.

Hears: PartyRegistered.
Says: nothing yet.
"""
