"""Results and their tables: columns declared once, and every form that a reader wants."""

FORMATS = ("table", "json", "csv", "markdown", "latex")
FILES = {"json": ".json", "csv": ".csv", "markdown": ".md", "latex": ".tex"}
FIGURES = (".png", ".pdf", ".svg")
ANIMATION = ".gif"  # of a raster alone
