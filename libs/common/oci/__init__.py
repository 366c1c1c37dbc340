"""Container images without a container engine: made, kept in folders, pushed to and pulled from registries.

Documents and layers are those of the OCI image specification 1.1, registries those of the OCI distribution
specification 1.1 (github.com/opencontainers).
"""
