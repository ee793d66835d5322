"""The exit codes of the three programs, `ec2ident`, `ec2ident-agent` and `ec2ident-failover`: one table.

0 to 4 are answers. `diff` and `grep` use 0, 1 and 2 in the same way; 3 keeps "could not tell" apart from "no". The rest
says that there is no answer: 70 is EX_SOFTWARE of sysexits.h, 130 and 141 are what a shell reports for a program that
SIGINT or SIGPIPE ended.
"""

from __future__ import annotations

YES = DONE = 0
NO = DRIFT = 1
USAGE = 2
UNKNOWN = 3
SUSPECT = FAILED = 4
BUG = 70
INTERRUPTED = 130
BROKEN_PIPE = 141

#: Code, what it means for `ec2ident`, and what it means for the two programs that act.
TABLE: tuple[tuple[int, str, str], ...] = (
    (YES, "yes", "done"),
    (NO, "no", "drift"),
    (USAGE, "usage", "usage"),
    (UNKNOWN, "could not tell", "could not tell"),
    (SUSPECT, "suspect", "failed or refused"),
    (BUG, "a bug in ec2ident", "a bug in ec2ident"),
    (INTERRUPTED, "interrupted", "interrupted"),
    (BROKEN_PIPE, "the reader of the output has gone", "the reader of the output has gone"),
)

#: The same for help texts: the answers, without what no script has to tell apart.
LEGEND = "exit codes: " + ", ".join(f"{code} {yes}" for code, yes, _ in TABLE[:5])
ACTING_LEGEND = "exit codes: " + ", ".join(f"{code} {done}" for code, _, done in TABLE[:5])
