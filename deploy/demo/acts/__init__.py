"""The acts of the year, in their order; each speaks through the public doors as the roles would."""
