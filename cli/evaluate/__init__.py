"""`ninefold evaluate`: how right, how fast and how large each variant is, on pictures whose classes are known.

labelled pictures ──> each variant's five best, kept as they come ──┐
artefacts, loaded ──> time alone, throughput, in turns ─────────────┼──> one dictionary ──> table, JSON, MD, CSV, PNG
files of artefacts ──> size, zipped ────────────────────────────────┘
"""
