"""The programme's year in a few minutes: files by seed, sent through the public doors as the roles would send them."""
