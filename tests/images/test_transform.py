"""What Storage's render parameters do to pixels, sizes, formats and metadata."""

from __future__ import annotations

import pytest
from tests.images.conftest import MakeImages
from tests.images.pictures import Bytes, Wanted, animation, gradient, jpeg, look, png

from selfbase.images.errors import SourceUnsupported
from selfbase.images.service import Images

SIZES = [
    ("cover cuts to the box", Wanted(300, 300), (300, 300)),
    ("contain fits the box", Wanted(300, 300, "contain"), (300, 200)),
    ("fill leaves the ratio", Wanted(300, 300, "fill"), (300, 300)),
    ("width alone keeps the ratio", Wanted(width=300), (300, 200)),
    ("height alone keeps the ratio", Wanted(height=100), (150, 100)),
    ("nothing asked, nothing scaled", Wanted(), (600, 400)),
    ("contain never enlarges", Wanted(2000, 2000, "contain"), (600, 400)),
    ("cover never enlarges, but cuts", Wanted(2000, 100), (600, 100)),
    ("fill keeps the ratio asked for instead of enlarging", Wanted(1200, 400, "fill"), (600, 200)),
    ("one pixel", Wanted(1, 1), (1, 1)),
    ("a very flat box", Wanted(600, 1), (600, 1)),
]


@pytest.mark.parametrize(("wanted", "size"), [c[1:] for c in SIZES], ids=[c[0] for c in SIZES])
async def test_sizes(images: Images, wanted: Wanted, size: tuple[int, int]) -> None:
    made = look((await images.transform(Bytes(jpeg()), wanted, "")).body)
    assert (made.width, made.height) == size


async def test_gravity_decides_what_is_kept(images: Images) -> None:
    async def red_at_left(**gravity: object) -> float:
        wanted = Wanted(100, 400, **gravity)  # type: ignore[arg-type]  # fields by name
        return float(
            look((await images.transform(Bytes(png()), wanted, "")).body).getpoint(0, 0)[0]
        )

    west, centre, east = [await red_at_left(gravity=g) for g in ("we", "ce", "ea")]
    assert west < 5 < 100 < centre < 115 < 210 < east
    point = await red_at_left(gravity="fp", x_offset=1.0, y_offset=0.5)
    assert point == east
    shifted = await red_at_left(gravity="we", x_offset=60.0)
    assert shifted == pytest.approx(60 * 255 / 600, abs=2)


async def test_smart_gravity_finds_the_lively_part(images: Images) -> None:
    plain = gradient(600, 200) * 0 + 200
    lively = plain.draw_rect([250, 0, 0], 480, 50, 60, 100, fill=True).cast("uchar")
    source = Bytes(lively.copy(interpretation="srgb").pngsave_buffer())
    made = look((await images.transform(source, Wanted(200, 200, gravity="sm"), "")).body)
    assert (made.width, made.height) == (200, 200)
    assert made.extract_band(1).min() < 50


@pytest.mark.parametrize("orientation", range(1, 9))
async def test_exif_orientation_is_applied_before_sizing(images: Images, orientation: int) -> None:
    source = Bytes(jpeg(orientation=orientation))
    made = look((await images.transform(source, Wanted(width=100), "")).body)
    turned = orientation >= 5
    assert (made.width, made.height) == ((100, 150) if turned else (100, 67))
    assert made.get_typeof("orientation") == 0 or made.get("orientation") == 1


async def test_metadata_goes_and_copyright_stays(images: Images) -> None:
    source = Bytes(jpeg(Copyright="Ada", Artist="Ada L", Make="Camera"))
    made = look((await images.transform(source, Wanted(width=50), "")).body)
    fields = {name: made.get(name) for name in made.get_fields() if name.startswith("exif-ifd0")}
    assert fields["exif-ifd0-Copyright"].startswith("Ada")
    assert "exif-ifd0-Make" not in fields


@pytest.mark.parametrize(
    ("source", "format_", "accept", "expected"),
    [
        ("jpeg", None, "", "image/jpeg"),
        ("png", None, "*/*", "image/png"),
        ("gif", None, "", "image/gif"),
        ("jpeg", None, "image/avif,image/webp,*/*", "image/webp"),
        ("jpeg", None, "image/webp;q=0", "image/jpeg"),
        ("jpeg", "origin", "image/webp", "image/jpeg"),
        ("jpeg", "avif", "", "image/avif"),
        ("jpeg", "webp", "", "image/webp"),
        ("webp", None, "", "image/jpeg"),
        ("webp", "origin", "", "image/webp"),
        ("webp-alpha", None, "", "image/png"),
        ("avif", None, "", "image/jpeg"),
        ("tiff", None, "", "image/jpeg"),
    ],
)
async def test_formats(
    images: Images, source: str, format_: str | None, accept: str, expected: str
) -> None:
    picture = gradient(60, 40)
    data = {
        "jpeg": picture.jpegsave_buffer,
        "png": picture.pngsave_buffer,
        "gif": picture.gifsave_buffer,
        "webp": picture.webpsave_buffer,
        "webp-alpha": picture.bandjoin(100).copy(interpretation="srgb").webpsave_buffer,
        "avif": lambda: picture.heifsave_buffer(compression="av1", effort=0),
        "tiff": picture.tiffsave_buffer,
    }[source]()
    made = await images.transform(Bytes(data), Wanted(width=30, format=format_), accept)
    assert made.mime_type == expected
    assert look(made.body).width == 30
    assert made.varies == (format_ is None)


async def test_avif_is_negotiated_where_it_is_switched_on(make_images: MakeImages) -> None:
    images = await make_images(auto_avif=True)
    made = await images.transform(Bytes(jpeg()), Wanted(30), "image/avif,image/webp")
    assert made.mime_type == "image/avif"
    still = await images.transform(Bytes(animation()), Wanted(30), "image/avif,image/webp")
    assert still.mime_type == "image/webp"


@pytest.mark.parametrize(("accept", "expected"), [("", "image/gif"), ("image/webp", "image/webp")])
async def test_animations_stay_animated(images: Images, accept: str, expected: str) -> None:
    made = await images.transform(Bytes(animation(5)), Wanted(50, 50), accept)
    seen = look(made.body)
    assert (made.mime_type, seen.get("n-pages")) == (expected, 5)
    assert (seen.width, seen.height) == (50, 50)


async def test_frames_are_capped(make_images: MakeImages) -> None:
    images = await make_images(frames_max=3)
    made = look((await images.transform(Bytes(animation(8)), Wanted(50), "")).body)
    assert made.get("n-pages") == 3


async def test_quality_changes_the_size(images: Images) -> None:
    low, high = [
        len((await images.transform(Bytes(jpeg()), Wanted(300, quality=q), "")).body)
        for q in (20, 95)
    ]
    assert low < high


async def test_transparent_pixels_become_white_in_jpeg(images: Images) -> None:
    source = Bytes(gradient(20, 20).bandjoin(0).copy(interpretation="srgb").webpsave_buffer())
    made = await images.transform(source, Wanted(10), "")
    assert made.mime_type == "image/png"
    clear = Bytes(png(20, 20, alpha=True), etag='"a"')
    asked = await images.transform(clear, Wanted(10, format="avif"), "")
    assert look(asked.body).hasalpha()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not an image",
        b"\xff\xd8\xff" + b"\0" * 50,
        b"\x89PNG\r\n\x1a\n",
        bytes.fromhex("00000010667479706d69663100000000"),
        b"BM" + b"\0" * 60,
        b"%PDF-1.7\n",
        b"P6 1 1 255 aaa",
        b"#!/bin/sh\n",
    ],
)
async def test_what_is_no_image_is_refused(images: Images, data: bytes) -> None:
    with pytest.raises(SourceUnsupported):
        await images.transform(Bytes(data), Wanted(10), "")


async def test_a_cut_off_image_is_refused_or_shown_in_part(images: Images) -> None:
    whole = jpeg()
    made = await images.transform(Bytes(whole[: len(whole) // 2]), Wanted(100), "")
    assert look(made.body).width == 100
    with pytest.raises(SourceUnsupported):
        await images.transform(Bytes(whole[:30], etag='"cut"'), Wanted(100), "")
