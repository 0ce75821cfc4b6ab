"""The router: literal before name before rest, decoding after splitting."""

from __future__ import annotations

import pytest

from selfbase.kit.routes import Found, NotFound, Route, Router

ROUTER = Router(
    [
        Route("GET", "/object/{bucket}/{path:rest}", "object", "object"),
        Route("POST", "/object/{bucket}/{path:rest}", "upload", "upload"),
        Route("GET", "/object/list/{bucket}", "list", "list"),
        Route("GET", "/bucket", "buckets", "buckets"),
        Route("GET", "/bucket/{id}", "bucket", "bucket"),
        Route("GET", "/", "root", "root"),
    ]
)


@pytest.mark.parametrize(
    ("path", "handler", "params"),
    [
        ("/bucket", "buckets", {}),
        ("/bucket/a%2Fb", "bucket", {"id": "a/b"}),
        ("/object/list/x", "list", {"bucket": "x"}),
        ("/object/b/c/d%20e", "object", {"bucket": "b", "path": "c/d e"}),
        ("/object/b/c//d/", "object", {"bucket": "b", "path": "c//d/"}),
        ("/", "root", {}),
    ],
)
def test_paths_find_their_route(path: str, handler: str, params: dict[str, str]) -> None:
    found = ROUTER.find("GET", path)
    assert isinstance(found, Found)
    assert (found.route.handler, found.params) == (handler, params)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/object/b/c", ("GET", "POST")),
        ("GET", "/object/b", ()),
        ("GET", "/object/b/", ()),
        ("GET", "/bucket/", ()),
        ("GET", "/nothing", ()),
        ("GET", "/bucket/a/b", ()),
    ],
)
def test_what_is_not_there_says_which_methods_are(
    method: str, path: str, allowed: tuple[str, ...]
) -> None:
    assert ROUTER.find(method, path) == NotFound(allowed)
