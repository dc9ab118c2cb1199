"""The offline build: weights in, optimised and measured artefacts out. Torch lives here, and no server imports it."""
