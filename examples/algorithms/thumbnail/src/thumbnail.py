"""Makes small PNG images of large images of any common kind."""

from __future__ import annotations

import io

from PIL import Image, ImageOps, UnidentifiedImageError

LONGEST_SIDE = 256
MAX_PIXELS = 50_000_000
KINDS = ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP")
SHOWABLE = ("L", "LA", "RGB", "RGBA")

Image.MAX_IMAGE_PIXELS = None  # the size is checked below, with an error of its own


class ThumbnailError(Exception):
    """No thumbnail can be made. `error_type` is what the caller sees."""

    def __init__(self, message: str, error_type: str) -> None:
        super().__init__(message)
        self.error_type = error_type


def apply(input: object) -> bytes:
    """The bytes of an image in; a PNG of at most 256 by 256 pixels, in the same proportions, out."""
    if not isinstance(input, (bytes, bytearray)):
        raise ThumbnailError("send the bytes of an image, as application/octet-stream", "InputError")
    try:
        with Image.open(io.BytesIO(input), formats=KINDS) as image:
            return png_of(image)
    except UnidentifiedImageError:
        kinds = f"{', '.join(KINDS[:-1])} or {KINDS[-1]}"
        raise ThumbnailError(f"these bytes are no image; send {kinds}", "UnsupportedError") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # what Pillow's readers say of broken files
        raise ThumbnailError(f"the image is damaged: {error}", "ParsingError") from error


def png_of(image: Image.Image) -> bytes:
    if image.width * image.height > MAX_PIXELS:
        raise ThumbnailError(
            f"the image has {image.width} x {image.height} pixels; at most {MAX_PIXELS:,} are taken", "TooLargeError"
        )
    image.draft("RGB", (2 * LONGEST_SIDE, 2 * LONGEST_SIDE))
    small = eight_bits(ImageOps.exif_transpose(image))
    small.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    small.save(out, "PNG", optimize=True)
    return out.getvalue()


def eight_bits(image: Image.Image) -> Image.Image:
    """The image as grey or red, green and blue of 8 bits each, with transparency if it has some."""
    if image.mode.startswith("I;16"):
        return image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if image.mode in SHOWABLE:
        return image
    return image.convert("RGBA" if image.has_transparency_data else "RGB")
