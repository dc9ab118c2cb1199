"""Which model and which precision is asked: the same two controls on every page. Also the one client of a process."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from frontend.api import Api, Model, VariantName

__all__ = ["choose_model", "choose_precision", "connection"]


@st.cache_resource
def connection(api_url: str, api_key: str) -> Api:
    """One client for all visits."""
    return Api(api_url, api_key)


def choose_model(ready: Sequence[Model], key: str = "model") -> Model | None:
    """Among the models that are there; the server's default first."""
    titles = {model.name: model.title for model in ready}
    default = next((place for place, model in enumerate(ready) if model.default), 0)
    name = st.selectbox(
        "Model", list(titles), index=default if ready else None, format_func=lambda n: titles.get(n, n), key=key,
        disabled=not ready, placeholder="No model yet", width=260,
    )  # fmt: skip
    return next((model for model in ready if model.name == name), None)


def choose_precision(model: Model, key: str = "precision") -> VariantName | None:
    """The only precision, or the chosen one."""
    names = [variant.precision for variant in model.variants]
    default = next((variant.precision for variant in model.variants if variant.default), names[0] if names else None)
    if len(names) > 1:
        default = st.segmented_control("Precision", names, default=default, required=True, key=f"{key}-{model.name}")
    return VariantName(model.name, default) if default else None
