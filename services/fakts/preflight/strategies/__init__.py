"""Strategies: who decides whether an app is let in. One small class each, found by entry point.

A package of anybody's adds one under the group `constellation.fakts.strategies`; rules name it.
"""
