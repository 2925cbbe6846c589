"""Models: the default pair, loading, what can be verified with them, the tree forward."""
