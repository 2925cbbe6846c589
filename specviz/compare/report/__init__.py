"""The charts of a comparison, as Plotly figures and as one HTML file.

A chart is a pure function of rows of the comparison's summary and a theme. The page's Compare tab and the report that
``compare`` writes draw the same charts.
"""
