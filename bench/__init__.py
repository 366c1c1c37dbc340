"""The benchmark: the gateway with a real runner, beside nginx before a bare uvicorn. `python -m bench` runs it."""
