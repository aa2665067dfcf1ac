"""Metrics in one pass over any number of pixels, each with its error bound, interval, or reason for being undefined."""
