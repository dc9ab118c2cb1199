"""Which model and which precision is asked: the same controls on every page. Also the one client of a process.

What is chosen stands in the page's address, so that a reload and a link keep it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from frontend.api import Api, Model, VariantName

__all__ = ["choose_model", "choose_precision", "choose_variants", "connection", "titles"]


@st.cache_resource
def connection(api_url: str, api_key: str) -> Api:
    """One client for all visits."""
    return Api(api_url, api_key)


def titles(models: Sequence[Model]) -> Mapping[str, str]:
    """What models are called, by their names."""
    return {model.name: model.title for model in models}


def choose_model(ready: Sequence[Model], key: str = "model") -> Model | None:
    """Among the models that are there; the server's default first."""
    called = titles(ready)
    default = next((place for place, model in enumerate(ready) if model.default), 0)
    name = st.selectbox(
        "Model", list(called), index=default if ready else None, format_func=lambda n: called.get(n, n), key=key,
        disabled=not ready, placeholder="No model yet", width=260, bind="query-params",
    )  # fmt: skip
    return next((model for model in ready if model.name == name), None)


def choose_precision(model: Model, key: str = "precision") -> VariantName | None:
    """The only precision, or the chosen one."""
    names = [variant.precision for variant in model.variants]
    default = next((variant.precision for variant in model.variants if variant.default), names[0] if names else None)
    if len(names) > 1:
        default = st.segmented_control(
            "Precision", names, default=default, required=True, key=f"{key}-{model.name}", bind="query-params"
        )
    return VariantName(model.name, default) if default else None


def choose_variants(ready: Sequence[Model], most: int, key: str = "variants") -> list[VariantName]:
    """Some of all variants that are there, in the order they were chosen in; first all of the default model's."""
    called = titles(ready)
    known = {
        f"{model.name}:{v.precision}": VariantName(model.name, v.precision) for model in ready for v in model.variants
    }
    own = [name for name, variant in known.items() if any(m.default and m.name == variant.model for m in ready)]
    chosen = st.multiselect(
        "Variants to compare; the others are held to the first", list(known), default=own[:most], key=key,
        max_selections=most, placeholder="Choose two or more", disabled=not known, bind="query-params",
        format_func=lambda name: f"{called[known[name].model]} · {known[name].precision}" if name in known else name,
    )  # fmt: skip
    return [known[name] for name in chosen if name in known]
