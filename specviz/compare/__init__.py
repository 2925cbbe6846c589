"""Measurements over many prompts: comparisons, quality, benchmarks."""
