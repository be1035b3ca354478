"""The page at `/`: what is served, how, and that its files fit together."""

import gzip
import re
from pathlib import Path

import pytest

from app.api.headers import PAGE_POLICY
from app.api.page import FOLDER, INDEX, KINDS, page_files
from tests.conftest import Client, ServiceFactory, assert_error

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "Accept-Encoding": "identity"}
FILES = sorted(path.name for path in FOLDER.iterdir())
SCRIPTS = [name for name in FILES if name.endswith(".js")]
HOSTS = {"http://www.w3.org/2000/svg"}
"""Names of XML languages, which nobody requests."""


def read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def dictionaries() -> dict[str, dict[str, str]]:
    """The texts of the page by language, read from i18n.js."""
    parts = re.split(r"^  (\w\w): \{$", read("i18n.js").split("};")[0], flags=re.MULTILINE)[1:]
    entry = re.compile(r'^    "([\w.]+)": "(.+)",$', re.MULTILINE)
    return {code: dict(entry.findall(texts)) for code, texts in zip(parts[::2], parts[1::2], strict=True)}


def test_browsers_get_the_page_and_others_json(client: Client) -> None:
    answer = client.request("GET", "/", headers=BROWSER)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.text == read(INDEX)
    for accept in ("*/*", "application/json", ""):
        other = client.request("GET", "/", headers={"Accept": accept})
        assert other.json()["name"] == "dikte"
        assert other.headers["vary"] == "Accept"
        assert other.headers["cache-control"] == "no-store"
        assert other.headers["content-security-policy"] != PAGE_POLICY


def test_every_file_is_served_under_the_strict_policy(client: Client) -> None:
    assert {Path(name).suffix for name in FILES} <= set(KINDS), "each has a media type"
    for name in set(FILES) - {INDEX}:
        answer = client.get(f"/page/{name}")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == KINDS[Path(name).suffix]
        assert answer.text == read(name)
        assert answer.headers["content-security-policy"] == PAGE_POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert "unsafe" not in PAGE_POLICY
    assert not re.search(r"https?:|\*", PAGE_POLICY), "nothing from elsewhere"


@pytest.mark.parametrize(
    "name", ["nothing.js", INDEX, "", "..%2fmain.py", "../main.py", "%2e%2e/main.py", "style.css/x"]
)
def test_nothing_else_is(client: Client, name: str) -> None:
    assert_error(client.get(f"/page/{name}"), 404, "not_found")


def test_files_are_only_read(client: Client) -> None:
    assert_error(client.post("/page/style.css"), 405, "method_not_allowed")


def test_head_has_the_headers_of_get_and_no_body(client: Client) -> None:
    for path in ("/", "/page/style.css"):
        answer = client.request("HEAD", path, headers=BROWSER)
        assert (answer.status_code, answer.content) == (200, b"")
        got = client.request("GET", path, headers=BROWSER)
        for name in ("etag", "content-type", "content-length", "cache-control"):
            assert answer.headers[name] == got.headers[name]


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_a_browser_that_has_a_file_is_told_so(client: Client, encoding: str) -> None:
    headers = BROWSER | {"Accept-Encoding": encoding}
    for path in ("/", "/page/main.js"):
        first = client.request("GET", path, headers=headers)
        assert first.headers["cache-control"] == "no-cache", "it asks each time: an upgrade is seen at once"
        assert "Accept-Encoding" in first.headers["vary"]
        for known in (first.headers["etag"], f'"other", W/{first.headers["etag"]}'):
            again = client.request("GET", path, headers=headers | {"If-None-Match": known})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == first.headers["etag"]
        changed = client.request("GET", path, headers=headers | {"If-None-Match": '"other"'})
        assert changed.status_code == 200


def test_files_are_compressed_for_those_who_can_read_it(client: Client) -> None:
    plain = client.request("GET", "/page/style.css", headers={"Accept-Encoding": "identity"})
    small = client.request("GET", "/page/style.css", headers={"Accept-Encoding": "br, gzip"})
    assert "content-encoding" not in plain.headers
    assert small.headers["content-encoding"] == "gzip"
    assert small.text == plain.text
    assert int(small.headers["content-length"]) < len(plain.content) / 2
    assert small.headers["etag"] != plain.headers["etag"]
    assert gzip.decompress(page_files()["style.css"].compressed) == plain.content


def test_the_page_needs_no_key(serve: ServiceFactory) -> None:
    with serve(api_keys="alpha") as client:
        assert client.request("GET", "/", headers=BROWSER).status_code == 200
        assert client.get("/page/main.js").status_code == 200


@pytest.mark.parametrize("name", FILES)
def test_no_file_refers_to_another_host(name: str) -> None:
    assert set(re.findall(r"""https?://[^\s"'`)<]+""", read(name))) - {"https://"} <= HOSTS
    assert not re.search(r"""(?:src|href|url\()=?["']?//""", read(name))


def test_the_page_keeps_to_its_policy() -> None:
    """Neither scripts nor styles stand in the page itself."""
    page = read(INDEX)
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", page)
    assert re.findall(r"<script(?![^>]*\bsrc=)", page) == []
    for name in SCRIPTS:
        assert not re.search(r"\beval\(|new Function|innerHTML|insertAdjacentHTML|document\.write", read(name)), name


def test_every_file_that_another_names_is_there() -> None:
    named = set(re.findall(r'(?:src|href)="page/([^"]+)"', read(INDEX)))
    for name in SCRIPTS:
        named |= set(re.findall(r'from "\./([^"]+)"', read(name))) | set(re.findall(r'"page/([^"]+)"', read(name)))
    assert named == set(FILES) - {INDEX}, "and none is left over"


def test_the_languages_have_the_same_texts_with_the_same_parts() -> None:
    texts = dictionaries()
    assert set(texts) == {"en", "tr"}
    assert set(texts["en"]) == set(texts["tr"])
    for key, text in texts["en"].items():
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", texts["tr"][key])), key


def test_every_text_is_used_and_every_used_one_exists() -> None:
    known = set(dictionaries()["en"])
    page = read(INDEX)
    in_page = set(re.findall(r'data-i18n(?:-label)?="([^"]+)"', page))
    scripts = "".join(read(name) for name in SCRIPTS if name != "i18n.js")
    scripts += read("i18n.js").split("\n};", 1)[1]  # what follows the dictionary
    assert in_page <= known
    named = in_page | {text for text in re.findall(r'"([\w.]+)"', scripts) if text in known}
    computed = ("state.", "progress.", "error.", "status.")  # from the state of a clip, or the code of an error
    assert {key for key in known - named if not key.startswith(computed)} == set(), "nobody uses them"
    for key in re.findall(r'\bt\("([\w.]+)"', scripts):
        assert key in known


def test_what_the_page_says_without_scripts_is_what_the_dictionary_says() -> None:
    english = dictionaries()["en"]
    for key, text in re.findall(r'data-i18n="([^"]+)"[^>]*>([^<]+)<', read(INDEX)):
        assert text.strip() == english[key], key
    for key, label in re.findall(r'aria-label="([^"]+)" data-i18n-label="([^"]+)"', read(INDEX)):
        assert english[label] == key


@pytest.mark.parametrize("name", FILES)
def test_no_file_is_too_long_to_read(name: str) -> None:
    assert len(read(name).splitlines()) <= 350
