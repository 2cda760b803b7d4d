"""Sphinx settings of the user's guide."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from settings_table import write_settings_table

project = "streetgauge"
author = "The streetgauge developers"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence"]
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {"description": "Inequality, measured from street pictures"}
autodoc_typehints = "description"
nitpicky = False

write_settings_table(Path(__file__).parent / "_generated" / "settings.md")
