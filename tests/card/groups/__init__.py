"""Tests that run on the pretended card, each file in a process of its own; tests/card/test_card.py starts them."""
