"""A small perspective camera that draws flat faces of a street, far ones first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

Colour = tuple[float, float, float]
Point = tuple[float, float, float]

_NEAR = 0.4  # metres: what is nearer to the camera is cut off


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Blend two colours; ``share`` is the second's."""
    rest = 1.0 - share
    return (
        first[0] * rest + second[0] * share,
        first[1] * rest + second[1] * share,
        first[2] * rest + second[2] * share,
    )


def scale(colour: Colour, factor: float) -> Colour:
    """Make a colour lighter or darker."""
    return (colour[0] * factor, colour[1] * factor, colour[2] * factor)


@dataclass(frozen=True)
class Light:
    """Light of one place and time: it is independent of every outcome.

    ``left`` and ``right`` are how bright the fronts on that side of the street are, ``near`` how
    bright the ends that face the camera, ``up`` how bright what lies flat.
    """

    tint: Colour
    left: float
    right: float
    near: float
    up: float
    haze: Colour
    visibility: float

    def front(self, side: int) -> float:
        """How bright fronts are on the right (+1) or the left (-1) of the street."""
        return self.right if side > 0 else self.left


@dataclass(frozen=True)
class Camera:
    """Where a camera stands and which way it faces.

    Parameters
    ----------
    turn : float
        Which way it faces, radians to the right of the street's direction.
    across, height : float
        Where it stands: metres to the right of the road's middle, and above the ground.
    focal : float
        Focal length as a share of the image's width.
    pitch, roll : float
        How far the horizon lies below the middle (share of the height), and its slope.
    """

    turn: float
    across: float
    height: float
    focal: float
    pitch: float
    roll: float


class Canvas:
    """Draw faces given in metres: X to the right of the street, Y up, Z along it.

    Parameters
    ----------
    image : Image
        What to draw on.
    light : Light
        Tint and haze of everything drawn.
    camera : Camera
        What sees it.
    """

    def __init__(self, image: Image.Image, light: Light, camera: Camera) -> None:
        self.draw = ImageDraw.Draw(image)
        self.width, self.height = image.size
        self.light = light
        self.eye_height = camera.height
        self._across = camera.across
        self._sin, self._cos = math.sin(camera.turn), math.cos(camera.turn)
        self._focal = camera.focal * self.width
        self._middle = self.width / 2
        self.horizon = self.height * (0.5 + camera.pitch)
        self._roll = camera.roll

    def depth(self, x: float, z: float) -> float:
        """Metres in front of the camera; negative behind it."""
        return (x - self._across) * self._sin + z * self._cos

    def sees(self, x: float, z0: float, z1: float, margin: float = 0.0) -> bool:
        """Whether any of an upright strip along the street can be in the image."""
        columns = []
        shifted = x - self._across
        for z in (z0 - margin, z1 + margin):
            depth = shifted * self._sin + z * self._cos
            if depth >= _NEAR:
                right = shifted * self._cos - z * self._sin
                columns.append(self._middle + self._focal * right / depth)
        if len(columns) < 2:  # a part lies next to the camera or behind it
            return len(columns) > 0
        return max(columns) >= 0 and min(columns) <= self.width

    def pixels(self, metres: float, depth: float) -> float:
        """How long ``metres`` are at that depth."""
        return self._focal * metres / max(depth, _NEAR)

    def spot(self, x: float, y: float, z: float) -> tuple[float, float, float]:
        """Where a point is seen: column, row, depth; the position is right only in front."""
        right = (x - self._across) * self._cos - z * self._sin
        depth = self.depth(x, z)
        reach = self._focal / max(depth, _NEAR)
        column = self._middle + reach * right
        row = self.horizon + reach * (self.eye_height - y)
        return column, row + self._roll * (column - self._middle), depth

    def tone(self, colour: Colour, depth: float, brightness: float = 1.0) -> tuple[int, int, int]:
        """How a colour appears in this light and at that distance."""
        clear = math.exp(-depth / self.light.visibility) if depth > 0 else 1.0
        veil = 1.0 - clear
        factor = brightness * clear
        tint, haze = self.light.tint, self.light.haze
        red = int(colour[0] * factor * tint[0] + haze[0] * veil)
        green = int(colour[1] * factor * tint[1] + haze[1] * veil)
        blue = int(colour[2] * factor * tint[2] + haze[2] * veil)
        return (  # comparisons, not min(): this runs a thousand times an image
            red if red < 255 else 255,
            green if green < 255 else 255,
            blue if blue < 255 else 255,
        )

    def face(self, points: Sequence[Point], colour: Colour, brightness: float = 1.0) -> None:
        """Fill a flat polygon."""
        sin, cos, across = self._sin, self._cos, self._across
        seen = []
        nearest = math.inf
        total = 0.0
        for x, y, z in points:
            shifted = x - across
            depth = shifted * sin + z * cos
            seen.append((shifted * cos - z * sin, y, depth))
            nearest = min(nearest, depth)
            total += depth
        if nearest < _NEAR:
            seen = _clipped(seen)
            if len(seen) < 3:
                return
        focal, middle, horizon = self._focal, self._middle, self.horizon
        eye, roll = self.eye_height, self._roll
        outline = []
        for right, y, depth in seen:
            offset = focal * right / depth
            outline.append((middle + offset, horizon + focal * (eye - y) / depth + roll * offset))
        depth = total / len(points)
        self.draw.polygon(outline, fill=self.tone(colour, depth, brightness))

    def wall(
        self, x: float, z0: float, z1: float, y0: float, y1: float, colour: Colour, light: float = 1
    ) -> None:
        """Fill a rectangle that stands along the street, the most frequent face: it is quick."""
        shifted = x - self._across
        first = shifted * self._sin + z0 * self._cos
        second = shifted * self._sin + z1 * self._cos
        if first < _NEAR or second < _NEAR:
            self.face(((x, y0, z0), (x, y0, z1), (x, y1, z1), (x, y1, z0)), colour, light)
            return
        reach = self._focal / first
        left = reach * (shifted * self._cos - z0 * self._sin)
        base = self.horizon + self._roll * left
        up0, up1 = self.eye_height - y0, self.eye_height - y1
        low0, high0 = base + reach * up0, base + reach * up1
        reach = self._focal / second
        right = reach * (shifted * self._cos - z1 * self._sin)
        base = self.horizon + self._roll * right
        left += self._middle
        right += self._middle
        self.draw.polygon(
            (left, low0, right, base + reach * up0, right, base + reach * up1, left, high0),
            fill=self.tone(colour, (first + second) / 2, light),
        )

    def gable(
        self, z: float, x0: float, x1: float, y0: float, y1: float, colour: Colour, light: float = 1
    ) -> None:
        """Fill a rectangle that stands across the street."""
        self.face(((x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)), colour, light)

    def ground(
        self,
        x0: float,
        x1: float,
        z0: float,
        z1: float,
        colour: Colour,
        light: float = 1.0,
        y: float = 0.0,
    ) -> None:
        """Fill a rectangle that lies flat."""
        self.face(((x0, y, z0), (x1, y, z0), (x1, y, z1), (x0, y, z1)), colour, light)

    def box(
        self,
        x: tuple[float, float],
        y: tuple[float, float],
        z: tuple[float, float],
        colour: Colour,
    ) -> None:
        """Fill the faces of an upright box that can be seen from the camera."""
        light = self.light
        if y[1] < self.eye_height:
            self.ground(x[0], x[1], z[0], z[1], colour, light.up, y[1])
        if z[0] > 0:
            self.gable(z[0], x[0], x[1], y[0], y[1], colour, light.near)
        elif z[1] < 0:
            self.gable(z[1], x[0], x[1], y[0], y[1], colour, light.near)
        if x[0] > self._across:
            self.wall(x[0], z[0], z[1], y[0], y[1], colour, light.right)
        elif x[1] < self._across:
            self.wall(x[1], z[0], z[1], y[0], y[1], colour, light.left)

    def blob(
        self,
        x: float,
        y: float,
        z: float,
        radius: float,
        colour: Colour,
        light: float = 1.0,
        flat: float = 1.0,
    ) -> None:
        """Fill a round thing that is the same from everywhere, e.g. a tuft of leaves."""
        column, row, depth = self.spot(x, y, z)
        if depth < 1.5 * _NEAR:
            return
        size = self.pixels(radius, depth)
        tall = size * flat
        self.draw.ellipse(
            (column - size, row - tall, column + size, row + tall),
            fill=self.tone(colour, depth, light),
        )

    def line(self, points: Sequence[Point], colour: Colour, metres: float) -> None:
        """Draw a thin thing, at least one pixel wide; nothing if a part is behind the camera."""
        seen = [self.spot(*point) for point in points]
        if min(depth for _, _, depth in seen) < 1.5 * _NEAR:
            return
        depth = sum(depth for _, _, depth in seen) / len(seen)
        self.draw.line(
            [(column, row) for column, row, _ in seen],
            fill=self.tone(colour, depth),
            width=max(1, round(self.pixels(metres, depth))),
        )


def _clipped(points: list[Point]) -> list[Point]:
    """Cut a polygon (right, up, depth) at the near plane (Sutherland and Hodgman)."""
    inside = []
    previous = points[-1]
    for current in points:
        if (current[2] >= _NEAR) != (previous[2] >= _NEAR):
            share = (_NEAR - previous[2]) / (current[2] - previous[2])
            right = previous[0] + share * (current[0] - previous[0])
            up = previous[1] + share * (current[1] - previous[1])
            inside.append((right, up, _NEAR))
        if current[2] >= _NEAR:
            inside.append(current)
        previous = current
    return inside
