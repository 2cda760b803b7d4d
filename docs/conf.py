"""Sphinx settings of the user's guide."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from api_pages import write_api_pages
from cli_sheet import write_cli_sheet
from gallery_page import write_gallery
from notebook_page import write_page
from settings_table import write_settings_table

project = "streetgauge"
author = copyright = "The streetgauge developers"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "*.ipynb"]
html_theme = "furo"
html_title = "streetgauge"
html_static_path = ["static"]
html_css_files = ["guide.css"]
html_theme_options = {
    "source_repository": "https://github.com/streetgauge/streetgauge/",
    "source_branch": "main",
    "source_directory": "docs/",
}
copybutton_exclude = ".linenos, .gp, .go"
copybutton_prompt_text = ">>> "
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_google_docstring = False
napoleon_use_rtype = False
nitpicky = False
# `Study` is the study's files in one package and its results in another; types need not lead
# anywhere.
suppress_warnings = ["ref.python"]

# What the package knows of itself is written down by the package.
GENERATED = Path(__file__).parent / "_generated"
write_settings_table(GENERATED / "settings.md")
write_cli_sheet(GENERATED / "cli.md")
write_api_pages(GENERATED / "api")
write_page(GENERATED / "tutorial.md")
write_gallery(GENERATED / "gallery")
