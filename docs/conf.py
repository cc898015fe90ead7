"""Settings of the documentation site: ``make docs`` builds it. The pages are the Markdown files of this folder."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from command_line import options_of_all_commands  # noqa: E402

import domain_masks  # noqa: E402

project = "domain-masks"
author = "the authors of domain-masks"
version = release = domain_masks.__version__
html_title = f"{project} {version}"

# myst_nb brings myst_parser, and shows notebooks as pages.
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build"]
root_doc = "index"

# Links to headings are written as on a code host: `page.md#heading`.
myst_heading_anchors = 4
# `--lr` stays as it is typed.
smartquotes = False

# `make docs-executed` runs the notebooks, and shows what their cells return.
nb_execution_mode = "off"
nb_execution_timeout = 600
nb_execution_in_temp = True
nb_execution_raise_on_error = True
# Lines that were printed one after the other are one block.
nb_merge_streams = True
# Bars are left out of the pages: their widgets would be drawn by a script from another site, and as text they stay at 0 %.
nb_ipywidgets_js: dict[str, dict[str, str]] = {}

# Types stand in the signature, as in the code.
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
# What pydantic and scikit-learn add to classes.
autodoc_default_options = {"exclude-members": "model_config, set_fit_request, set_predict_request, set_score_request"}
python_use_unqualified_type_names = True
maximum_signature_line_length = 120
add_module_names = False
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_show_copyright = False
pygments_style = "friendly"
pygments_dark_style = "monokai"

linkcheck_anchors = False
linkcheck_timeout = 30
linkcheck_retries = 2

OUTSIDE = {
    "../CONTRIBUTING.md": "contributing.md",
    "../CHANGELOG.md": "changelog.md",
    "../notebooks/": "notebooks/",
}
"""Pages that lie at the top of the repository, or the folder of notebooks there -> their place in the site."""

NOTEBOOKS = HERE / "notebooks"
# Sphinx reads no files outside of its folder. With their times, so that unchanged notebooks are not read again.
shutil.rmtree(NOTEBOOKS, ignore_errors=True)
shutil.copytree(HERE.parent / "notebooks", NOTEBOOKS, ignore=shutil.ignore_patterns(".*"))


def link_within_the_site(_app: Sphinx, _page: str, source: list[str]) -> None:
    """Let links to pages at the top of the repository stay within the site."""
    for path, page in OUTSIDE.items():
        source[0] = source[0].replace(f"]({path}", f"]({page}")


def insert_options(_app: Sphinx, page: str, source: list[str]) -> None:
    """Insert the options of every command into their page."""
    if page == "reference/command-line":
        source[0] = source[0].replace("<!-- options of every command -->", options_of_all_commands())


def plain_signature(*event: object) -> tuple[str, object] | None:
    """Show the default of a field that is made by a factory as ``...``, with which Sphinx can parse the signature."""
    *_, signature, returned = event
    return (signature.replace("<factory>", "..."), returned) if isinstance(signature, str) else None


def show_images_by_theme(_app: Sphinx, doctree: nodes.document) -> None:
    """Show ``NAME-dark.png`` in place of ``NAME-light.png`` in the dark theme."""
    for image in list(doctree.findall(nodes.image)):
        path = Path(image["uri"])
        dark = path.with_name(path.name.replace("-light.", "-dark."))
        if dark == path or not (HERE / dark).is_file():
            continue
        other = image.deepcopy()
        other["uri"] = dark.as_posix()
        other["classes"].append("only-dark")
        image["classes"].append("only-light")
        image.parent.insert(image.parent.index(image) + 1, other)


def setup(app: Sphinx) -> None:
    """Connect the changes to the pages."""
    app.connect("source-read", link_within_the_site)
    app.connect("source-read", insert_options)
    app.connect("autodoc-process-signature", plain_signature)
    # Before Sphinx collects the images of a page.
    app.connect("doctree-read", show_images_by_theme, priority=100)
