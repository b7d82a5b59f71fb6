"""The path of a fact: commit, sequence, publish, consume."""
