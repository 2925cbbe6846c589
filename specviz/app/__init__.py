"""The Gradio page: it starts runs and sends their frames to the viewer, which does the rest in the browser.

:mod:`~specviz.app.page` lays the page out; handlers answer its buttons; the form becomes settings in
:mod:`~specviz.app.form`. ``compare`` is the page's Compare tab, and ``server`` is what it takes to serve the page to
many people at once.
"""
