"""What two processes must agree on. Standard library, numpy and Pillow only."""
