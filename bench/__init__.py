"""Benchmarks: ratios within one run, CPU time per request.  See bench/README.md."""
