"""Benchmarks: each compares with a named peer in one run, says how, and prints ratios. Start them with `make bench`."""
