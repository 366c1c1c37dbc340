"""Bundles: satellites that are carried away, checked, configured, deployed and run elsewhere."""
