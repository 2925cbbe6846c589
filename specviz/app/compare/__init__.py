"""The page's Compare tab: comparisons that are shipped, uploaded or just run, their charts and tables, and the way
from a point of a chart to the run behind it, which is then made again and shown step by step.
"""
