"""Whether a text can be read against what is painted behind it."""

from __future__ import annotations

import re

from playwright.sync_api import Page


def contrast(page: Page, selector: str) -> float:
    """WCAG contrast of an element's text against what is painted behind it."""
    ink, paper = page.locator(selector).first.evaluate(
        """element => {
            const opaque = e => getComputedStyle(e).backgroundColor;
            const clear = ['rgba(0, 0, 0, 0)', 'transparent'];
            let behind = element;
            while (behind.parentElement && clear.includes(opaque(behind))) behind = behind.parentElement;
            return [getComputedStyle(element).color, opaque(behind)];
        }"""
    )
    lighter, darker = sorted((luminance(ink), luminance(paper)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    """WCAG relative luminance of a computed `rgb(r, g, b)`, or `color(srgb r g b)`, which a mixed colour is."""
    scale = 1 if colour.startswith("color(srgb") else 255
    parts = [float(part) / scale for part in re.findall(r"[\d.]+", colour.removeprefix("color(srgb"))[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
