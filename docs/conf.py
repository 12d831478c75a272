"""How Sphinx builds the site: `make docs`. The extensions of ours are in `_ext`."""

import importlib.util
import sys
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "coview"
author = copyright = "The coview authors"
version = release = installed("coview")
language = "en"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "api",
    "atlas",
    "commands",
    "measured",
    "studies",
]
exclude_patterns = ["_build", "_ext"]
suppress_warnings = ["myst.strikethrough"]

myst_enable_extensions = ["attrs_block", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
myst_links_external_new_tab = False

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
python_maximum_signature_line_length = 72
napoleon_use_rtype = False
napoleon_use_ivar = True
add_module_names = False
default_role = "py:obj"  # a name in single backticks is a link where there is one
nitpicky = True
nitpick_ignore_regex = [("py:obj", ".*"), ("py:class", ".*")]  # types of others in signatures

# MathJax as one file beside the pages: readers need no network, and neither does the build.
_mathjax = importlib.util.find_spec("sphinx-mathjax-offline")
if _mathjax is None or _mathjax.origin is None:
    raise ImportError("the site needs the docs extra: pip install -e '.[docs]'")
html_static_path = ["_static", str(Path(_mathjax.origin).parent / "static/mathjax/tex-svg.js")]
mathjax_path = "tex-svg.js"
mathjax3_config = {"svg": {"fontCache": "global"}, "options": {"enableMenu": False}}

html_theme = "furo"
html_title = "coview"
html_css_files = ["coview.css"]
html_copy_source = False
html_show_sphinx = False
_FONTS = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif'
html_theme_options = {
    "light_css_variables": {
        "font-stack": _FONTS,
        "color-background-primary": "#fcfbf9",
        "color-background-secondary": "#f6f4ef",
        "color-foreground-primary": "#1d1c1a",
        "color-brand-primary": "#0f6b63",
        "color-brand-content": "#0f6b63",
        "color-brand-visited": "#0f6b63",
    },
    "dark_css_variables": {
        "font-stack": _FONTS,
        "color-background-primary": "#141517",
        "color-background-secondary": "#1c1d20",
        "color-foreground-primary": "#e9e6e0",
        "color-brand-primary": "#56c2b4",
        "color-brand-content": "#56c2b4",
        "color-brand-visited": "#56c2b4",
    },
}
linkcheck_timeout = 20


def setup(app: Any) -> None:  # noqa: ANN401
    """Leave the mark of blocks that tests run out of what readers see."""

    def unmark(_: Any, name: str, text: list[str]) -> None:  # noqa: ANN401
        text[0] = text[0].replace("```bash\n# runs\n", "```bash\n")

    app.connect("source-read", unmark)
