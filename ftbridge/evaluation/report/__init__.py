"""The report: one HTML file, a workbook, or figures for a model card."""
