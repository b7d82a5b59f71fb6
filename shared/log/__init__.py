"""The path of a fact: commit, sequence, publish, consume (docs/protocol.md has the rules by number)."""
