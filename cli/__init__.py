"""The command line `ninefold`."""
