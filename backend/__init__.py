"""The server: HTTP in front of the scheduler. `app.create_app` is the only place that puts its parts together."""
