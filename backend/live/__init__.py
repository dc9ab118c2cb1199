"""A camera as it happens: frames over a WebSocket, the newest wins, one answer a frame."""
