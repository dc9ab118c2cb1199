"""Pixels to predictions: the catalogue, artefacts and cards, classifiers, the scheduler. No torch on a CPU."""
