"""Satellites in a namespace of a Kubernetes cluster: what they consist of there, and who keeps them so.

`satellite.py` says what is wanted, `objects.py` of what it consists (pure), `observed.py` what became of it (pure),
`cluster.py` is the only door to a cluster (`access.py`: by which kubeconfig), `manager.py` brings all together.
"""
