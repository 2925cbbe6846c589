"""Engines that are recorded in one line: nothing of theirs is edited, and all hooks are undone on exit."""
