"""Baselines: translators that need no training, and plain functions made translators."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from geodecloud.errors import ModelError
from geodecloud.translator import Answer, Floats, Request, Translator


class FunctionTranslator:
    """A plain function on arrays, made a translator.

    Args:
        function: takes (B, C, H, W) float32 in the sensor's unit, NaN-free, the fill where a pixel
            is no measurement; answers (B, C', H, W).
        bands_in: names of the C bands it takes, in its order.
        bands_out: names of the C' bands it gives; None means those it takes.
        stride_px: its answers repeat when the input moves by a multiple of this.
        halo_px: how far it looks around a pixel.
        name: how it is named in logs and results.

    Example:
        >>> import numpy as np
        >>> brighter = FunctionTranslator(lambda pixels: 2 * pixels, ["B02"], name="brighter")
        >>> pixels = np.ones((1, 1, 1, 2), np.float32)
        >>> brighter(Request(pixels, valid=pixels > 0)).pixels
        array([[[[2., 2.]]]], dtype=float32)
    """

    device = "cpu"
    task = "translation"
    sensor_out: str | None = None
    resolution_m: float | None = None

    def __init__(
        self,
        function: Callable[[Floats], Floats],
        bands_in: Sequence[str],
        bands_out: Sequence[str] | None = None,
        *,
        stride_px: int = 1,
        halo_px: int = 0,
        name: str = "function",
    ) -> None:
        """Hold the function and what it says of itself."""
        self._function = function
        self.bands_in = tuple(bands_in)
        self.bands_out = self.bands_in if bands_out is None else tuple(bands_out)
        self.stride_px, self.halo_px = stride_px, halo_px
        self.name = name

    def __call__(self, request: Request) -> Answer:
        """Answer with what the function makes of the pixels."""
        return Answer(self._function(request.pixels))


class IdentityTranslator(FunctionTranslator):
    """The scene itself, clouds and all: what any other result is measured against."""

    def __init__(self, bands: Sequence[str]) -> None:
        """Take these bands, and give them."""
        super().__init__(lambda pixels: pixels, bands, name="identity")


class FillTranslator:
    """The clear pixels around, drawn on smoothly under the clouds: no training, any sensor."""

    name = "fill"
    device = "cpu"
    task = "cloud-removal"
    sensor_out: str | None = None
    resolution_m: float | None = None
    stride_px = 1
    halo_px = 0  # the fill is made for the whole scene, before it is cut

    def __init__(self, bands: Sequence[str]) -> None:
        """Fill these bands."""
        self.bands_in = self.bands_out = tuple(bands)

    def __call__(self, request: Request) -> Answer:
        """Answer with the request's fill.

        Raises:
            ModelError: the request comes without one.
        """
        if request.fill is None:
            raise ModelError(
                "the request has no fill",
                "the baseline answers with it",
                "build geodecloud.geo.fill.Fill for the scene and pass it on as an aid",
            )
        return Answer(request.fill)


BASELINES: Mapping[str, Callable[[Sequence[str]], Translator]] = MappingProxyType(
    {"fill": FillTranslator, "identity": IdentityTranslator}
)
"""Baselines by name; each is made for the bands of a scene."""
