"""The processing endpoint as programs written for imgproxy use it, and as attackers would."""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.images.conftest import MakeImages
from tests.images.pictures import animation, gradient, jpeg, look, png

from selfbase.http.testing import Answer, Client
from selfbase.images.errors import ImageFailure
from selfbase.images.logic.options import Options
from selfbase.images.logic.processing_url import SigningKey, parse_processing_url, sign_path
from selfbase.images.service import Images
from selfbase.images.settings import ImagesSettings
from selfbase.images.sources import is_address_allowed
from selfbase.kit.settings import Secret

KEY, SALT = "943b421c9eb07c830af81030552c86009268de4e532ba2ee2eab8247c6da0881", "520f986b998545b4"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(jpeg())
    (folder / "a b.png").write_bytes(png(alpha=True))
    (folder / "move.gif").write_bytes(animation())
    (tmp_path / "outside.jpg").write_bytes(jpeg())
    (folder / "link.jpg").symlink_to(tmp_path / "outside.jpg")
    return folder


@pytest.fixture
async def client(make_images: MakeImages, root: Path, tmp_path: Path) -> Client:
    mark = tmp_path / "mark.png"
    mark.write_bytes((gradient(50, 50) * 0).cast("uchar").pngsave_buffer())
    return Client(await make_images(local_root=root, watermark_path=mark))


async def size(client: Client, options: str, name: str = "a.jpg") -> tuple[int, int]:
    answer = await client.get(f"/_/{options}/plain/local:///{name}")
    assert answer.status == 200, answer.text
    made = look(answer.body)
    return made.width, made.get("page-height") if made.get_typeof("page-height") else made.height


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("rs:fill:300:300", (300, 300)),
        ("resize:fit:300:300:0", (300, 200)),
        ("rs:force:100:300", (100, 300)),
        ("rs:fill-down:1200:1200", (400, 400)),
        ("rs:auto:300:100", (300, 100)),
        ("rs:auto:100:300", (100, 67)),
        ("s:300", (300, 200)),
        ("w:300/h:300", (300, 200)),
        ("w:1200", (600, 400)),
        ("w:1200/el:1", (1200, 800)),
        ("w:300/dpr:2", (600, 400)),
        ("rs:fit:300:300/ex:1", (300, 300)),
        ("rs:fit:300:300/exar:1", (300, 300)),
        ("z:0.5", (300, 200)),
        ("mw:300/h:10", (300, 10)),
        ("c:200:100", (200, 100)),
        ("c:0.5:0.5:nowe", (300, 200)),
        ("c:200:200/rs:fill:50:50", (50, 50)),
        ("rot:90", (400, 600)),
        ("rot:90/rs:fill:100:50", (100, 50)),
        ("pd:10:20", (640, 420)),
        ("w:300/pd:1:2:3:4/dpr:1", (306, 204)),
        ("fl:1:1/w:100", (100, 67)),
        ("bl:2/sh:1/pix:4/w:60", (60, 40)),
        ("wm:0.5:re:5:5/w:300", (300, 200)),
        ("wm:1:soea:10:10:0.2/w:300", (300, 200)),
        ("q:50/f:webp/w:100", (100, 67)),
        ("fq:jpeg:10:webp:20/w:100", (100, 67)),
        ("g:fp:0.1:0.9/rs:fill:100:100", (100, 100)),
        ("g:sm/rs:fill:100:100", (100, 100)),
        ("cb:1/kcr:0/sm:0/scp:0/ar:0/w:100", (100, 67)),
    ],
)
async def test_options(client: Client, options: str, expected: tuple[int, int]) -> None:
    assert await size(client, options) == expected


@pytest.mark.parametrize(
    "options", ["w:50/rot:90", "rs:fill:40:40/pd:5", "bl:1/wm:1:ce:0:0:0.5/w:50"]
)
async def test_animations_pass_through_every_step(client: Client, options: str) -> None:
    answer = await client.get(f"/_/{options}/plain/local:///move.gif")
    assert answer.status == 200, answer.text
    assert look(answer.body).get("n-pages") == 5


async def test_trim_takes_the_border_off(client: Client, root: Path) -> None:
    drawn = (gradient(200, 100) * 0 + 255).draw_rect([0, 0, 0], 50, 20, 60, 30, fill=True)
    (root / "t.png").write_bytes(drawn.cast("uchar").pngsave_buffer())
    assert await size(client, "t:10", "t.png") == (60, 30)


async def test_the_watermark_is_laid_over(client: Client) -> None:
    plain, marked = [
        look((await client.get(f"/_/{options}/plain/local:///a.jpg@png")).body)
        for options in ("w:600", "wm:1:nowe/w:600")
    ]
    assert plain.getpoint(45, 45)[2] > 40
    assert marked.getpoint(45, 45)[2] < 5
    assert marked.getpoint(100, 100)[2] > 40


async def test_max_bytes_lowers_the_quality(client: Client) -> None:
    large = await client.get("/_/q:95/plain/local:///a.jpg")
    small = await client.get(f"/_/q:95/mb:{len(large.body) // 2}/plain/local:///a.jpg")
    assert len(small.body) <= len(large.body) // 2


async def test_encoded_sources_extensions_and_headers(client: Client) -> None:
    encoded = urlsafe_b64encode(b"local:///a b.png").decode().rstrip("=")
    parts = f"{encoded[:7]}/{encoded[7:]}"
    answer = await client.get(f"/_/w:10/{parts}.webp")
    assert answer.headers.get("content-type") == "image/webp"
    plain = await client.get("/_/w:10/fn:photo/att:1/plain/local:///a%20b.png@jpg")
    assert plain.headers.get("content-type") == "image/jpeg"
    assert plain.headers.get("content-disposition") == 'attachment; filename="photo.jpg"'
    assert plain.headers.get("cache-control") == "max-age=31536000, public"
    assert plain.headers.get("x-content-type-options") == "nosniff"
    head = await client.request("HEAD", "/_/w:10/plain/local:///a.jpg")
    assert (head.status, head.body) == (200, b"")
    again = await client.get(
        "/_/w:10/plain/local:///a.jpg", headers={"if-none-match": head.headers.get("etag")}
    )
    assert (again.status, again.headers.get("vary")) == (304, "Accept")


async def test_raw_and_skipped_formats_are_not_touched(client: Client, root: Path) -> None:
    raw = await client.get("/_/raw:1/plain/local:///a.jpg")
    skipped = await client.get("/_/w:10/skp:jpg/plain/local:///a.jpg")
    assert raw.body == skipped.body == (root / "a.jpg").read_bytes()


async def test_presets(make_images: MakeImages, root: Path) -> None:
    images = await make_images(
        local_root=root,
        presets=("default=quality:50", "small=resize:fit:30:30", "loop=preset:loop"),
    )
    client = Client(images)
    assert await size(client, "pr:small") == (30, 20)
    for bad in ("pr:none", "pr:loop"):
        assert (await client.get(f"/_/{bad}/plain/local:///a.jpg")).status == 404


# Signatures


def signed(path: str, key: str = KEY, salt: str = SALT) -> str:
    digest = sign_path(path, SigningKey(bytes.fromhex(key), bytes.fromhex(salt)))
    return f"/{urlsafe_b64encode(digest).decode().rstrip('=')}{path}"


def test_the_signature_of_the_documentation() -> None:
    """The worked example of imgproxy's documentation on signing."""
    path = "/rs:fill:300:400:0/g:sm/aHR0cDovL2V4YW1w/bGUuY29tL2ltYWdl/cy9jdXJpb3NpdHku/anBn.png"
    key = SigningKey(
        bytes.fromhex("736563726574"),
        bytes.fromhex("68656C6C6F"),
    )
    made = urlsafe_b64encode(sign_path(path, key)).decode().rstrip("=")
    assert made == "oKfUtW34Dvo2BGQehJFR4Nr0_rIjOtdtzJ3QFsUcXH8"


@pytest.fixture
async def guarded(make_images: MakeImages, root: Path) -> Client:
    return Client(
        await make_images(
            local_root=root,
            key=Secret(f"aa,{KEY}"),
            salt=Secret(f"bb,{SALT}"),
            trusted_signatures=("let-me-in",),
        )
    )


async def test_only_signed_urls_are_answered(guarded: Client) -> None:
    path = "/w:10/plain/local:///a.jpg"
    assert (await guarded.get(signed(path))).status == 200
    assert (await guarded.get(signed(path, "aa", "bb"))).status == 200
    assert (await guarded.get(f"/let-me-in{path}")).status == 200
    signature = signed(path).split("/")[1]
    for attack in (
        f"/_{path}",
        f"/{path}",
        f"/insecure{path}",
        f"/{signature}/w:11/plain/local:///a.jpg",
        f"/{signature}/w:10/plain/local:///a%20b.png",
        f"/{signature[:-2]}{path}",
        f"/{signature}A{path}",
        f"/%FF{path}",
        f"/{'A' * 5000}{path}",
        signed(path, "aa", SALT),
        signed(path, KEY, "bb"),
        signed(path, "00", "00"),
    ):
        answer = await guarded.get(attack)
        assert (answer.status, answer.text) == (403, "Forbidden"), attack


async def test_a_project_answers_nothing_until_it_has_keys(
    make_images: MakeImages, root: Path
) -> None:
    client = Client(await make_images(must_sign=True, local_root=root))
    assert (await client.get("/_/w:10/plain/local:///a.jpg")).status == 403
    assert (await client.get("//w:10/plain/local:///a.jpg")).status == 403


async def test_expired_urls_and_missing_secrets(make_images: MakeImages, root: Path) -> None:
    client = Client(await make_images(local_root=root, bearer_secret=Secret("s3cret")))
    path = "/_/exp:1/plain/local:///a.jpg"
    assert (await client.get(path)).status == 403
    assert (await client.get(path, headers={"authorization": "Bearer wrong"})).status == 403
    assert (await client.get(path, headers={"authorization": "Bearer s3cret"})).status == 404


@pytest.mark.parametrize(
    "path",
    [
        "/_",
        "/_/",
        "/_/w:10",
        "/_/plain/",
        "/_/w:x/plain/local:///a.jpg",
        "/_/w:-1/plain/local:///a.jpg",
        "/_/w:1e999/plain/local:///a.jpg",
        "/_/w:nan/plain/local:///a.jpg",
        "/_/nothing:1/plain/local:///a.jpg",
        "/_/rot:45/plain/local:///a.jpg",
        "/_/g:xx/plain/local:///a.jpg",
        "/_/g:fp:2:2/plain/local:///a.jpg",
        "/_/bg:zzz/plain/local:///a.jpg",
        "/_/bl:1000000/plain/local:///a.jpg",
        "/_/f:exe/plain/local:///a.jpg",
        "/_/w:1/plain/local:///a.jpg@png@jpg",
        "/_/w:1/%%%.png",
        "/_/" + "w:1/" * 100 + "plain/local:///a.jpg",
    ],
)
async def test_bad_urls_are_not_found(client: Client, path: str) -> None:
    answer = await client.get(path)
    assert (answer.status, answer.text) == (404, "Invalid URL")


# Sources


@pytest.mark.parametrize(
    "name",
    [
        "../outside.jpg",
        "%2e%2e/outside.jpg",
        "..%2Foutside.jpg",
        "link.jpg",
        "x/../../outside.jpg",
        "../../../../../etc/passwd",
        "/etc/passwd",
        "a.jpg%00.png",
        "none.jpg",
        "",
        "a" * 5000,
    ],
)
async def test_no_path_leaves_the_folder_of_sources(client: Client, name: str) -> None:
    for path in (f"local:///{name}", f"local://{name}", quote(f"local:///{name}", safe="")):
        answer = await client.get(f"/_/w:10/plain/{path}")
        assert answer.status in (403, 404), path
        assert b"root:" not in answer.body


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::", "10.0.0.1", "172.16.0.1", "192.168.1.1",
        "169.254.169.254", "fe80::1", "fe80::1%eth0", "fc00::1", "224.0.0.1", "100.64.0.1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "240.0.0.1",
        "255.255.255.255",
    ],
)  # fmt: skip
def test_addresses_inside_are_refused(address: str) -> None:
    assert not is_address_allowed(address, ImagesSettings())
    everything_else = ImagesSettings(allow_loopback=True, allow_link_local=True)
    if address == "10.0.0.1":
        assert not is_address_allowed(address, everything_else)


def test_addresses_outside_and_allowed_ones_pass() -> None:
    assert is_address_allowed("93.184.216.34", ImagesSettings())
    assert is_address_allowed("2606:2800:220:1::1", ImagesSettings())
    assert is_address_allowed("127.0.0.1", ImagesSettings(allow_loopback=True))
    assert is_address_allowed("10.1.2.3", ImagesSettings(allow_private=True))


@pytest.fixture
async def web() -> AsyncIterator[str]:
    """A web server on this machine with one image and treacherous redirects."""
    picture = jpeg(60, 40)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        path = head.split(b" ")[1]
        port = writer.get_extra_info("sockname")[1]
        if path == b"/a.jpg":
            answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(picture) + picture
        elif path == b"/hop":
            answer = b"HTTP/1.1 302 F\r\nlocation: /a.jpg\r\ncontent-length: 0\r\n\r\n"
        elif path == b"/away":
            target = b"http://localhost:%d/a.jpg" % port
            answer = b"HTTP/1.1 302 F\r\nlocation: " + target + b"\r\ncontent-length: 0\r\n\r\n"
        elif path == b"/file":
            answer = b"HTTP/1.1 302 F\r\nlocation: file:///etc/passwd\r\ncontent-length: 0\r\n\r\n"
        elif path == b"/endless":
            answer = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 300_000
        else:
            answer = b"HTTP/1.1 302 F\r\nlocation: /loop\r\ncontent-length: 0\r\n\r\n"
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await server.wait_closed()


async def fetch(images: Images, url: str) -> Answer:
    return await Client(images).get(f"/_/w:10/plain/{quote(url, safe='')}")


async def test_web_sources(make_images: MakeImages, web: str) -> None:
    images = await make_images(
        allow_loopback=True, allowed_sources=(f"{web}/",), source_bytes_max=200_000
    )
    assert (await fetch(images, f"{web}/a.jpg")).status == 200
    assert (await fetch(images, f"{web}/hop")).status == 200
    assert (await fetch(images, f"{web}/away")).status == 403
    assert (await fetch(images, f"{web}/file")).status == 403
    assert (await fetch(images, f"{web}/loop")).status == 404
    assert (await fetch(images, f"{web}/endless")).status == 422
    assert (await fetch(images, "http://example.com/a.jpg")).status == 403


async def test_this_machine_is_not_fetched_from(make_images: MakeImages, web: str) -> None:
    images = await make_images()
    port = web.rpartition(":")[2]
    for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f000001"):
        answer = await fetch(images, f"http://{host}:{port}/a.jpg")
        assert answer.status == 404, host
    assert (await fetch(images, "ftp://127.0.0.1/a.jpg")).status == 403
    assert (await fetch(images, "file:///etc/passwd")).status == 403


async def test_a_star_stays_within_its_part_of_the_address(make_images: MakeImages) -> None:
    images = await make_images(allowed_sources=("http://*.example.com/",))
    assert (await fetch(images, "http://evil.test/.example.com/a.jpg")).status == 403


async def test_the_projects_own_objects(make_images: MakeImages) -> None:
    asked: list[tuple[str, str]] = []

    async def read_object(bucket: str, path: str, bytes_max: int) -> bytes:
        asked.append((bucket, path))
        return jpeg()

    images = await make_images(read_object=read_object)
    answer = await Client(images).get("/_/w:10/plain/storage:%2F%2Fphotos/a%20b/c.jpg")
    assert (answer.status, asked) == (200, [("photos", "a b/c.jpg")])
    assert (await fetch(images, "http://example.com/a.jpg")).status == 403


@given(st.text(max_size=80))
def test_no_path_breaks_the_parser(text: str) -> None:
    for path in (text, f"w:{text}/plain/local:///a", f"{text}:1/plain/x", quote(text)):
        with suppress(ImageFailure):
            parse_processing_url(path, {}, Options())
