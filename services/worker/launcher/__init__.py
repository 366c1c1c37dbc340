"""Starts one confined program, and ends with all that came of it. A process of its own; standard library only.

It reads a marshalled `request.Request` from standard input, up to its end; without a whole one it starts nothing. The
program gets `/dev/null` as standard input and the launcher's standard output and error.

With namespaces there are three processes: the launcher, which waits; the first process of the new pid namespace,
which sets up what the program sees, and reaps; and the program. Killing any of the first two makes the kernel kill
everything in the namespace. Without namespaces the launcher adopts orphans, and kills all its descendants when the
program ends. In both cases SIGTERM ends everything before the launcher itself ends.

Exit status: the program's, 128 + N after signal N, `request.SETUP_FAILED` when the program could not be confined.
"""
