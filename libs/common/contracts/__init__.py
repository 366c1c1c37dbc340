"""What the services say to one another: wire models, message models and state enums. No I/O.

Every model here crosses a process boundary, so a change is additive or comes with a new version.
"""
