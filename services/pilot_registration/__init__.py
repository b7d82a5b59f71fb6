"""Owns parties, chains, pilots with their lists and map, quality issues and key projects.

Hears: nothing.
Says: PartyRegistered.
"""
