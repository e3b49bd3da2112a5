"""Benchmarks: the real thing beside the least that anybody could do with the same servers, and what follows from it."""
