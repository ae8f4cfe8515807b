"""Reports: results as tables, Markdown, CSV and JSON."""

from ahsar_eval.report.tables import (
    FORMATS,
    cell,
    check_format,
    csv_text,
    json_text,
    markdown_table,
    text_table,
)

__all__ = [
    "FORMATS",
    "cell",
    "check_format",
    "csv_text",
    "json_text",
    "markdown_table",
    "text_table",
]
