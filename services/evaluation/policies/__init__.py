"""Pure decisions of evaluation over plain values: what the facts come to, the figures, the panel's result."""
