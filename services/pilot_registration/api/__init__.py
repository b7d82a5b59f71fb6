"""The HTTP door of pilot_registration; a transition is `POST /<resource>/{id}/<verb>`."""
