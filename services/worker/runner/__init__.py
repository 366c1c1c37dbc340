"""What lives beside an algorithm: loads it once, answers calls on a socket, and outlives its accidents.

This folder is copied next to an algorithm's environment and started with that environment's interpreter
(`python -I main.py SPEC`), whatever its version from 3.8 on. It imports the standard library only, and its
own modules by relative imports, since it is not called `services.worker.runner` there. `typing` is imported
by type checkers alone: it is a tenth of a replica's start.

Two processes: the *guardian* owns the sockets and the deadlines and never imports the algorithm; the *host*
imports it and answers the calls.
"""
