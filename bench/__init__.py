"""The benchmarks, each beside a peer in the same run. `python -m bench` runs them."""
