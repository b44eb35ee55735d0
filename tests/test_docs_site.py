"""The site of the documents: it builds strictly, every page is in it, and it is whole without the internet."""

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
SETTINGS = "zensical.toml"
PAGES_AT_LEAST = 70
# What a browser loads by itself: all that has an address but what people click, and what only names the page.
CLICKED = {"a"}
NAMES = {"canonical", "prev", "next"}
IN_STYLE = re.compile(r"(?:url\(|@import)\s*['\"]?([^'\")\s;]+)")
# With these, the theme's own script would load a library from elsewhere.
LOADED_FOR = re.compile(r'class="[^"]*\b(?:mermaid|glightbox|pyodide)\b')


class Page(HTMLParser):
    """What a built page links to, what it loads, and the names that links into it can have."""

    def __init__(self, path: Path) -> None:
        """Read a page."""
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Sort the addresses of one element."""
        found = dict(attrs)
        self.anchors |= {name for name in (found.get("id"), found.get("name")) if name}
        address = found.get("href") or found.get("src") or found.get("data")
        if address and tag in CLICKED:
            self.links.append(address)
        elif address and found.get("rel") not in NAMES:
            self.loads.append(address)
        self.loads += IN_STYLE.findall(found.get("style") or "")


def navigation(entries: object) -> Iterator[str]:
    """Every page of a part of the navigation, in its order."""
    if isinstance(entries, str):
        yield entries
    elif isinstance(entries, dict):
        for part in entries.values():
            yield from navigation(part)
    elif isinstance(entries, list):
        for part in entries:
            yield from navigation(part)


def is_foreign(address: str) -> bool:
    """Whether an address is of another server."""
    return bool(urlsplit(address).netloc)


def build(directory: Path) -> subprocess.CompletedProcess[str]:
    """Build the site of a copy, as ./dev docs does."""
    zensical = Path(sys.executable).with_name("zensical")
    return subprocess.run(
        [zensical, "build", "--strict", "--clean"], cwd=directory, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    copy = tmp_path_factory.mktemp("documents")
    shutil.copytree(CHECKOUT / "docs", copy / "docs")
    shutil.copyfile(CHECKOUT / SETTINGS, copy / SETTINGS)
    done = build(copy)
    if done.returncode:
        pytest.fail(f"./dev docs says:\n{done.stdout}{done.stderr}", pytrace=False)
    return copy / "site"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    """The pages by their files."""
    found = {path: Page(path) for path in sorted(site.rglob("*.html"))}
    assert len(found) >= PAGES_AT_LEAST
    return found


def test_every_page_is_in_the_navigation_once() -> None:
    """Zensical builds a page that no reader finds, and says nothing."""
    project = tomllib.loads((CHECKOUT / SETTINGS).read_text())["project"]
    listed = list(navigation(project["nav"]))
    there = {str(path.relative_to(CHECKOUT / "docs")) for path in (CHECKOUT / "docs").rglob("*.md")}
    there.remove(project["exclude_docs"])
    assert not there - set(listed), f"pages are not in the navigation; add them to one group in {SETTINGS}"
    assert not set(listed) - there, f"the navigation in {SETTINGS} names pages that do not exist"
    assert len(listed) == len(set(listed)), f"the navigation in {SETTINGS} names a page twice"


@pytest.mark.parametrize("link", ["nowhere.md", "#nowhere", "other.md#nowhere"])
def test_a_link_to_nowhere_fails_the_build(tmp_path: Path, link: str) -> None:
    """Strictness is Zensical's; that it is strict with what we care for is for us to see."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.md").write_text(f"# A page\n\n[away]({link})\n")
    (tmp_path / "docs/other.md").write_text("# Another page\n")
    (tmp_path / SETTINGS).write_text('[project]\nsite_name = "two pages"\n')
    assert build(tmp_path).returncode
    (tmp_path / "docs/index.md").write_text("# A page\n\n[away](other.md#another-page)\n")
    assert not build(tmp_path).returncode


def test_every_link_leads_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    """On the built site as a browser follows it; so a link of a document out of docs/ is found, too."""
    broken = []
    for path, page in pages.items():
        for address in page.links + page.loads:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc or path.name == "404.html":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            known = pages[target].anchors if target in pages else set()
            if not (target.is_file() and target.is_relative_to(site)):
                broken.append(f"{path.name}: {address} is not there")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in known:
                broken.append(f"{path.name}: {address} is no heading there")
    assert not broken, "\n".join(broken)


def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    """In a hospital's network the site is as whole as anywhere, and nobody learns who reads it."""
    loaded = [f"{path.name}: {address}" for path, page in pages.items() for address in page.loads]
    loaded += [f"{path.name}: {name}" for path in site.rglob("*.css") for name in IN_STYLE.findall(path.read_text())]
    assert any(line.endswith(".css") for line in loaded)
    foreign = [line for line in loaded if is_foreign(line.partition(": ")[2])]
    foreign += [f"{path.name} {found[0]}" for path in pages if (found := LOADED_FOR.search(path.read_text()))]
    assert not foreign, "\n".join(foreign)
