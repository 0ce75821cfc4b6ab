"""What someone would try: names, tokens, headers, bodies and URLs that are not meant well."""

import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest
from tests.storage.conftest import ALICE, BOB, Site, make_token
from tests.storage.test_resumable import announce, patch

from selfbase.http.headers import Headers
from selfbase.http.values import Request
from selfbase.identity.tokens import key_from_secret, sign_token
from selfbase.kit.routes import Access
from selfbase.storage.routes import ROUTES

HOSTILE_NAMES = [
    "../../etc/passwd",
    "a/../../b",
    "./a",
    "a/..",
    "..",
    "a\0b",
    "a\nb",
    "\x7f",
    "a[b]",
    "a^b",
    'a"b',
    "a\\b",
    "%2e%2e",
    "x" * 1025,
    "é" * 513,
]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
async def test_names_that_could_mislead_are_refused(site: Site, name: str) -> None:
    await site.make_bucket()
    answer = await site.service.post(f"/object/b/{quote(name, safe='')}", content=b"x")
    assert answer.status == 400
    assert answer.json()["code"] == "InvalidKey"
    moved = {"bucketId": "b", "sourceKey": "a", "destinationKey": name}
    for path in ("/object/move", "/object/copy"):
        assert (await site.service.post(path, json=moved)).status == 400
    assert site.files() == set()


@pytest.mark.parametrize("raw", ["%ff", "%c0%ae%c0%ae/x", "a%80b"])
async def test_paths_that_are_no_text_are_refused(site: Site, raw: str) -> None:
    await site.make_bucket()
    answer = await site.service.get(f"/object/b/{raw}")
    assert (answer.status, answer.json()["code"]) == (400, "InvalidRequest")


async def test_names_stay_as_they_were_sent(site: Site) -> None:
    await site.make_bucket()
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    names = [
        composed,
        decomposed,
        "日本/語.txt",
        "emoji 🎉",
        "a//b",
        "a+b",
        "\u202etxt",
    ]
    for number, name in enumerate(names):
        answer = await site.service.post(f"/object/b/{quote(name)}", content=b"%d" % number)
        assert answer.status == 200, (name, answer.text)
    for number, name in enumerate(names):
        got = await site.service.get(f"/object/b/{quote(name)}")
        assert got.body == b"%d" % number, name
    listed = (await site.service.post("/object/list-v2/b", json={})).json()["objects"]
    assert {item["name"] for item in listed} == set(names)


async def test_every_route_asks_who_calls(site: Site) -> None:
    """Routes without a token: those that are open show nothing of a private bucket."""
    await site.make_bucket()
    await site.service.post("/object/b/x", content=b"secret")
    forged = "eyJhbGciOiJub25lIn0." + urlsafe_b64encode(b'{"role":"service_role"}').decode() + "."
    wrong_key = sign_token(key_from_secret("x" * 40), {"role": "service_role"})
    expired = make_token(site.project.secrets, "service_role", exp=int(time.time()) - 60)
    for route in ROUTES:
        if route.operation in ("storage.status", "storage.version") or route.method == "OPTIONS":
            continue
        path = route.path.replace("{bucket}", "b").replace("{name:rest}", "x").replace("{id}", "aa")
        for token in (None, forged, wrong_key, expired, "x", ""):
            headers = Headers([("authorization", f"Bearer {token}")] if token is not None else [])
            request = Request(route.method, path, headers=headers)
            request.headers.replace("tus-resumable", "1.0.0")
            answer = await site.storage.answer(request)
            shown = answer.body if isinstance(answer.body, bytes) else b"a file"
            assert answer.status >= 400, (route, token)
            assert b"secret" not in shown
            if route.access is Access.SERVICE and token is not None:
                assert answer.status in (400, 403)


async def test_a_signed_url_opens_one_object_for_one_use(site: Site) -> None:
    await site.make_bucket()
    await site.make_bucket("other")
    for path in ("b/a", "b/c", "other/a"):
        await site.service.post(f"/object/{path}", content=path.encode())
    signed = (await site.service.post("/object/sign/b/a", json={"expiresIn": 60})).json()[
        "signedURL"
    ]
    token = signed.partition("token=")[2]
    nobody = site.client(None)
    for path in ("b/c", "other/a", "b/a/", "b/A", "b/%61%00"):
        answer = await nobody.get(f"/object/sign/{path}?token={token}")
        assert answer.status == 400, path
    for tampered in (token[:-2] + ("AA" if token[-2:] != "AA" else "BB"), token + "x", "", "a.b.c"):
        answer = await nobody.get(f"/object/sign/b/a?token={tampered}")
        assert answer.json()["code"] == "InvalidJWT"
    write = await nobody.put(f"/object/upload/sign/b/a?token={token}", content=b"x")
    assert write.json()["message"] == "Token is not scoped for upload"
    upload = (await site.service.post("/object/upload/sign/b/n", json={})).json()["token"]
    read = await nobody.get(f"/object/sign/b/n?token={upload}")
    assert read.json()["message"] == "Token is not scoped for download"
    elsewhere = await nobody.put(f"/object/upload/sign/b/m?token={upload}", content=b"x")
    assert elsewhere.json()["code"] == "InvalidSignature"
    # A bearer token is no signed URL, and a signed URL's token gives no rights as a bearer.
    bearer = site.service.headers["authorization"].removeprefix("Bearer ")
    assert (await nobody.get(f"/object/sign/b/a?token={bearer}")).status == 400
    as_bearer = await nobody.get("/object/b/a", headers={"authorization": f"Bearer {token}"})
    assert as_bearer.status == 400


async def test_an_expired_signed_url_is_over_at_once(site: Site) -> None:
    await site.make_bucket()
    await site.service.post("/object/b/a", content=b"x")
    now_s = int(time.time())
    claims = {"url": "b/a", "scope": "download", "iat": now_s - 10, "exp": now_s - 1}
    token = sign_token(key_from_secret(site.project.secrets.jwt_secret), claims)
    answer = await site.client(None).get(f"/object/sign/b/a?token={token}")
    assert answer.json() == {
        "statusCode": "400",
        "error": "InvalidJWT",
        "message": '"exp" claim timestamp check failed',
        "code": "InvalidJWT",
    }
    endless = await site.service.post("/object/sign/b/a", json={"expiresIn": 10**15})
    assert endless.json()["code"] == "InvalidParameter"


async def test_signing_cannot_be_made_to_say_more(site: Site) -> None:
    await site.make_bucket()
    await site.service.post("/object/b/a", content=b"x")
    hostile = {
        "expiresIn": 60,
        "role": "service_role",
        "url": "b/other",
        "scope": "upload",
        "upsert": True,
        "transform": {"width": 1, "role": "service_role"},
    }
    signed = (await site.service.post("/object/sign/b/a", json=hostile)).json()["signedURL"]
    token = signed.partition("token=")[2]
    claims = site.project.tokens.verify(token)
    assert claims["url"] == "b/a"
    assert claims["scope"] == "download"
    assert not {"role", "upsert", "owner"} & set(claims)


@pytest.mark.parametrize(
    ("kind", "sent", "sandboxed"),
    [
        ("text/html", "text/plain", False),
        ("TEXT/HTML; charset=utf-8", "text/plain; charset=utf-8", False),
        ("image/svg+xml", "image/svg+xml", True),
        ("application/xhtml+xml", "application/xhtml+xml", True),
        ("text/xml", "text/xml", True),
        ("image/png", "image/png", False),
    ],
)
async def test_what_a_browser_would_run_is_served_harmless(
    site: Site, kind: str, sent: str, sandboxed: bool
) -> None:
    await site.make_bucket("p", public=True)
    await site.service.post("/object/p/a", headers={"content-type": kind}, content=b"<script>")
    got = await site.client(None).get("/object/public/p/a")
    assert got.headers.get("content-type") == sent
    assert got.headers.get("x-content-type-options") == "nosniff"
    assert ("sandbox" in got.headers.get("content-security-policy")) == sandboxed


async def test_stored_values_cannot_split_a_response(site: Site) -> None:
    await site.make_bucket()
    body = (
        b'--X\r\nContent-Disposition: form-data; name="cacheControl"\r\n\r\n1\r\nset-cookie: a=b\r\n'
        b'--X\r\nContent-Disposition: form-data; name=""; filename="a"\r\n\r\nx\r\n--X--\r\n'
    )
    headers = {"content-type": "multipart/form-data; boundary=X"}
    answer = await site.service.post("/object/b/a", headers=headers, content=body)
    assert answer.json()["error"] == "invalid_header_char"
    got = await site.service.post("/object/b/a", content=b"x")
    assert got.status == 200
    down = await site.service.get('/object/b/a?download=a%0d%0aset-cookie:%20x"')
    disposition = down.headers.get("content-disposition")
    assert "\r" not in disposition
    assert "\n" not in disposition
    assert '"' not in disposition
    robots = {"x-robots-tag": "none\tset-cookie"}
    assert (await site.service.post("/object/b/c", headers=robots, content=b"x")).status == 400


async def test_sql_in_every_place_is_only_text(site: Site) -> None:
    await site.make_bucket()
    evil = "a'); drop table storage.objects; --"
    await site.service.post(f"/object/b/{evil}", content=b"x")
    assert (await site.service.get(f"/object/b/{evil}")).body == b"x"
    for body in (
        {"prefix": evil},
        {"prefix": "", "search": evil + "'"},
        {"prefix": "%"},
        {"prefix": "", "search": "_"},
    ):
        answer = await site.service.post("/object/list/b", json=body)
        assert answer.json() == [], body
    injected = await site.service.post(
        "/object/list/b", json={"prefix": "", "sortBy": {"column": "name; drop table x"}}
    )
    assert injected.status == 400
    searched = await site.service.get("/bucket", params={"search": "%", "sortColumn": "id"})
    assert searched.json() == []
    cursor = urlsafe_b64encode(b"l:a\nc:name; select 1").decode()
    assert (await site.service.post("/object/list-v2/b", json={"cursor": cursor})).status == 400


async def test_a_body_larger_than_allowed_is_cut_off_while_it_arrives(site: Site) -> None:
    await site.make_bucket("small", file_size_limit=100_000)
    taken = 0

    class Endless:
        async def read(self, bytes_max: int) -> bytes:
            raise AssertionError

        async def stream(self, bytes_max: int | None = None) -> AsyncIterator[bytes]:
            nonlocal taken
            while taken < 50_000_000:
                taken += 65536
                yield b"x" * 65536

    headers = Headers([("authorization", site.service.headers["authorization"])])
    request = Request("POST", "/object/small/a", headers=headers, body=Endless())
    answer = await site.storage.answer(request)
    assert answer.status == 400
    assert b"EntityTooLarge" in bytes(answer.body)  # type: ignore[arg-type]  # a refusal is bytes
    assert site.files() | site.files("staging") == set()


async def test_an_upload_id_is_no_right(site: Site) -> None:
    await site.make_bucket()
    site.execute(
        "create policy anyone on storage.objects for all to authenticated"
        " using (bucket_id = 'b') with check (bucket_id = 'b')"
    )
    made = await site.user(ALICE).post("/upload/resumable", headers=announce(10, "mine"))
    path = made.headers.get("location").partition("localhost")[2]
    stolen = await patch(site.user(BOB), path, 0, b"x" * 10)
    assert (stolen.status, stolen.text) == (403, "Access denied")
    ended = await site.user(BOB).delete(path, headers={"tus-resumable": "1.0.0"})
    assert ended.status == 403
    assert (await patch(site.user(ALICE), path, 0, b"y" * 10)).status == 204
