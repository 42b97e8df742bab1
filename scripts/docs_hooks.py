"""What mkdocs is told beyond mkdocs.yml: the pages that GitHub wants at the top of the repository are pages too."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
AT_THE_TOP = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The pages of docs/, and those at the top."""
    for name in AT_THE_TOP:
        files.append(File.generated(config, name, content=(ROOT / name).read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """The page with its links as they are on the site, where docs/ is the top."""
    if page.file.src_uri in AT_THE_TOP:
        return markdown.replace("](docs/", "](")
    for name in AT_THE_TOP:
        markdown = markdown.replace(f"](../{name}", f"]({name}")
    return markdown
