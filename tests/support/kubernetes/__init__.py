"""A Kubernetes API server with the controllers that matter, as far as satellites use them: see `api.py`."""

from tests.support.kubernetes.api import KubernetesDouble

__all__ = ["KubernetesDouble"]
