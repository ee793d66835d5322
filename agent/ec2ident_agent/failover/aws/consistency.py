"""How long an answer of the API may be old.

EC2 is eventually consistent: a Describe may show any state of the last seconds, and a later one may show an earlier
state again ("Eventual consistency in the Amazon EC2 API"). The responses of writes are not old: a ReplaceRoute that
succeeded has changed the table, and an attachment id that AttachNetworkInterface returned exists. So a move

- writes what it owns, also where the first look says that it is right: these writes may be repeated;
- reads back until it sees its own write. The state of before is "not seen yet", until the deadline;
- believes that another mover was later if it sees a third owner in a look that began SETTLED seconds after the write.
"""

from __future__ import annotations

#: Seconds after which a look does not show the state of before a write. EC2 documents no bound; most reads agree
#: within a second. A greater value only delays the refusal of a move that lost, and a monitor that found a difference.
SETTLED = 8.0

#: Seconds between two looks: the first, then twice as long each time up to the longest.
FIRST_LOOK, LONGEST_LOOK = 0.2, 1.0
