"""The Gradio page: it starts runs and hands their frames to the viewer, which does the rest in the browser."""
