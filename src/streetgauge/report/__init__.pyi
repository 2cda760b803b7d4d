from .data import ReportData as ReportData
from .figures.draw import Figure as Figure
from .figures.draw import draw_figures as draw_figures
from .figures.draw import processes as processes
from .figures.draw import save_figures as save_figures
from .figures.slides import draw_maps as draw_maps
from .page import render as render
from .page import render_map as render_map
