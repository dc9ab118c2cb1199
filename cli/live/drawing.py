"""Boxes and labels on a frame, by OpenCV; the class names are English, in ASCII."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import cv2

from cli.live.looking import Thing
from contract.transform import Pixels

__all__ = ["colour_of", "draw", "thickness"]

Colour = tuple[int, int, int]

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_GOLDEN = 0.61803  # steps of this share of the circle keep the hues of neighbours apart, however many there are
_WHITE, _GREY, _BLACK = (255, 255, 255), (40, 40, 40), (0, 0, 0)


def draw(frame: Pixels, things: Sequence[Thing]) -> None:
    """Onto uint8[H,W,3], RGB: each box with its label; what has no box is a line at the upper left, one a row."""
    thick = thickness(frame)
    top = 0
    for thing in reversed(things):  # the surest last, above the others
        if thing.box is not None:
            colour = colour_of(thing.index if thing.track is None else thing.track)
            left, upper, right, lower = _corners(frame, thing.box)
            cv2.rectangle(frame, (left, upper), (right, lower), colour, thick)
            _write(frame, _words(thing), (left, upper), colour, above=True)
    for thing in things:
        if thing.box is None:
            top = _write(frame, _words(thing), (0, top), _GREY, above=False)


def colour_of(number: int) -> Colour:
    """Of a track, or of a class where there are no tracks: bright, in RGB."""
    red, green, blue = colorsys.hsv_to_rgb(number * _GOLDEN % 1, 0.85, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def thickness(frame: Pixels) -> int:
    """Of a box's lines, in pixels."""
    return max(2, round(int(min(frame.shape[:2])) / 240))


def _corners(frame: Pixels, box: tuple[float, float, float, float]) -> tuple[int, int, int, int]:
    height, width, _ = frame.shape
    left, top, right, bottom = (min(max(edge, 0.0), 1.0) for edge in box)
    return (
        round(left * (width - 1)),
        round(top * (height - 1)),
        round(right * (width - 1)),
        round(bottom * (height - 1)),
    )


def _words(thing: Thing) -> str:
    number = "" if thing.track is None else f"{thing.track}: "
    label = thing.label.encode("ascii", "replace").decode()
    return f"{number}{label} {thing.probability:.0%}"


def _write(frame: Pixels, words: str, corner: tuple[int, int], ground: Colour, above: bool) -> int:
    """White or black on a bar that begins at `corner`, or ends there, within the frame; the bar's lower edge."""
    scale = max(0.4, min(frame.shape[:2]) / 900)
    (width, _), _ = cv2.getTextSize(words, _FONT, scale, 1)
    (_, height), beneath = cv2.getTextSize("Ag", _FONT, scale, 1)  # every bar is as high as the others
    left = max(0, min(corner[0], frame.shape[1] - int(width) - 2 * beneath))
    tall = int(height) + 2 * beneath
    top = max(0, corner[1] - tall) if above else corner[1]
    cv2.rectangle(frame, (left, top), (left + int(width) + 2 * beneath, top + tall), ground, cv2.FILLED)
    light = 0.3 * ground[0] + 0.6 * ground[1] + 0.1 * ground[2] > 140
    where = (left + beneath, top + int(height) + beneath // 2)
    cv2.putText(frame, words, where, _FONT, scale, _BLACK if light else _WHITE, 1, cv2.LINE_AA)
    return top + tall
