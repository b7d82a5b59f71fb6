"""How people and programs come in: HTTP, tokens, problem+json, sheets."""
