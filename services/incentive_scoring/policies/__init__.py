"""Pure decisions over plain values: what a policy says, how much a tilt is, who ranks where, whom a veto moves."""
