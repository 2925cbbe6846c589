"""What serving the page to many people takes: model memory, time and disk are limited, and strangers use them.

A backend runs a visitor's work on models that are loaded here or lent by ZeroGPU; sessions, traces and shared links are
kept in stores of bounded size; middleware answers only the addresses that the page needs; limits refuse what would take
too long. A page that runs for one person on their own machine uses the same code with wide limits.
"""
