"""What the contracts look like from outside: JSON Schemas, events page, AsyncAPI, and the gate before a release.

Stands here and not in `shared`, because the pages name who hears a fact and shared knows no service. One command
remakes everything: `python -m deploy.contracts`; with `--check` it writes nothing and fails when something is stale or
a change would break a reader.
"""
