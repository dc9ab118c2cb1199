"""What the Makefile's targets do: set up, start the parts, stop them."""
