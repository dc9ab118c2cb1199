"""The offline build: weights in, optimised and measured artefacts out. Torch lives here, and no server imports it."""

import inference  # noqa: F401  # before OpenVINO: it keeps the converter from reporting
