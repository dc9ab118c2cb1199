"""Measurements: each prints a table and what it ran on. Figures in the docs come from here, and name the command."""
