"""What a run found, from one `results.json`: a table for the terminal and one self-contained `report.html`."""
