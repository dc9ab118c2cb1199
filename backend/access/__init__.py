"""Who may ask: keys for programs, short-lived tokens for browsers. Only a server with a keys file imports it."""
