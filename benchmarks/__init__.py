"""What ARGen claims, measured: `python -m benchmarks.NAME [--quick] [--json]`."""
