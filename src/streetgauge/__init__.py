"""Social, environmental and health inequalities, measured from street pictures.

The method is that of Suel, Polak, Bennett and Ezzati (2019), *Measuring social, environmental and
health inequalities using deep learning and street imagery*, Scientific Reports 9. Each subpackage
is one step of the way from files to a map; importing this package imports none of them, so that
the command line starts at once.
"""

__version__ = "0.1.0"
