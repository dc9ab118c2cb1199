"""`ninefold loadtest`: how much a server answers, and how fast. It knows the server by HTTP alone.

command ── bodies, probe ──> plan ── fleet ──┬─> worker (a process): threads, each with a connection
                                             └─> …         │ tallies, four times a second
report, plot <── one tally <──────────────────────────────┘
"""
