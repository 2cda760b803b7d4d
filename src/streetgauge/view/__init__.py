"""A study in the browser of the machine that it lies on: live while it runs, for nobody else."""

from streetgauge.view.server import Viewer, view
from streetgauge.view.state import training_curves

__all__ = ["Viewer", "training_curves", "view"]
