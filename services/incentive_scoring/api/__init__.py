"""The HTTP doors of incentive_scoring; a transition is `POST /<resource>/{id}/<verb>`."""
