"""`python -m deploy.local`: the `dev` commands by themselves; a detached stack runs this."""

from deploy.local.cli import app

app(prog_name="liandong dev")
