"""The bundled algorithm `thumbnail`."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image

from tests.unit.examples.loading import load_example

ORIENTATION, TURNED_RIGHT = 0x0112, 6


@pytest.fixture
def thumbnail(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)  # the module changes it
    return load_example("thumbnail", monkeypatch)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def opened(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    image.load()
    return image


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
def test_every_common_kind_becomes_a_small_png_of_the_same_shape(thumbnail: Any, kind: str) -> None:
    image = opened(thumbnail.apply(encoded(Image.new("RGB", (800, 600), (200, 30, 30)), kind)))
    assert image.size == (256, 192)
    red, green, blue = image.convert("RGB").getpixel((128, 96))  # type: ignore[misc]
    assert red > 150
    assert max(green, blue) < 80


def test_a_small_image_keeps_its_size(thumbnail: Any) -> None:
    assert opened(thumbnail.apply(encoded(Image.new("L", (20, 10)), "PNG"))).size == (20, 10)


def test_a_photograph_is_turned_upright(thumbnail: Any) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = TURNED_RIGHT
    photograph = encoded(Image.new("RGB", (400, 200)), "JPEG", exif=exif)
    assert opened(thumbnail.apply(photograph)).size == (128, 256)


def test_transparency_is_kept(thumbnail: Any) -> None:
    clear = Image.new("RGBA", (300, 300), (0, 0, 0, 0))
    assert opened(thumbnail.apply(encoded(clear, "PNG"))).getpixel((10, 10)) == (0, 0, 0, 0)
    indexed = clear.convert("P")
    assert opened(thumbnail.apply(encoded(indexed, "GIF", transparency=indexed.getpixel((0, 0))))).mode == "RGBA"


def test_sixteen_bits_of_grey_become_eight(thumbnail: Any) -> None:
    grey = Image.new("I;16", (300, 300), 0x8000)
    assert opened(thumbnail.apply(encoded(grey, "PNG"))).getpixel((5, 5)) == 0x80


def test_the_colours_of_print_become_those_of_a_screen(thumbnail: Any) -> None:
    printed = encoded(Image.new("CMYK", (300, 300)), "JPEG")
    assert opened(thumbnail.apply(printed)).mode == "RGB"


@pytest.mark.parametrize(
    ("input", "error_type"),
    [
        ("a text", "InputError"),
        ({"image": "..."}, "InputError"),
        (b"", "UnsupportedError"),
        (b"no image at all", "UnsupportedError"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "UnsupportedError"),
    ],
)
def test_what_is_no_image_is_an_error_with_a_type(thumbnail: Any, input: object, error_type: str) -> None:
    with pytest.raises(thumbnail.ThumbnailError) as refused:
        thumbnail.apply(input)
    assert refused.value.error_type == error_type


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_an_image_that_ends_early_is_damaged(thumbnail: Any, kind: str) -> None:
    noise = encoded(Image.effect_noise((400, 400), 90).convert("RGB"), kind)
    with pytest.raises(thumbnail.ThumbnailError) as refused:
        thumbnail.apply(noise[: len(noise) // 2])
    assert refused.value.error_type in ("ParsingError", "UnsupportedError")


def test_a_huge_image_is_refused_before_it_is_unpacked(thumbnail: Any) -> None:
    huge = encoded(Image.new("1", (10_000, 6_000)), "PNG")
    with pytest.raises(thumbnail.ThumbnailError, match="10000 x 6000") as refused:
        thumbnail.apply(huge)
    assert refused.value.error_type == "TooLargeError"
