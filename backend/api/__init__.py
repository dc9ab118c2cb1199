"""What is reachable over HTTP: the routes, their schemas, the errors, and what wraps every request."""
