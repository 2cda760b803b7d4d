"""``python -m streetgauge``."""

from streetgauge.cli import main

if __name__ == "__main__":
    main()
