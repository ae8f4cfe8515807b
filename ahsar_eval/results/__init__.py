"""Results and their tables: columns declared once, and every form that a reader wants."""
