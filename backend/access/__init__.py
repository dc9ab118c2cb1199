"""Who may ask: keys for programs, short-lived tokens for browsers.

What costs time to import, only a server with a keys file imports.
"""
