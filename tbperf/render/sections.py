"""The tables of a report, as a reader asks for them."""

SECTIONS = (
    "ranks",
    "time",
    "idle",
    "gaps",
    "what-if",
    "stages",
    "steps",
    "kernels",
    "families",
    "copies",
    "collectives",
    "launches",
    "syncs",
    "operators",
    "shapes",
    "threads",
    "modules",
    "memory",
    "nsys",
    "findings",
    "seen",
)
"""In the order in which they are shown; a device section says nothing of a run on the CPU."""

ON_ONE_SCREEN = ("ranks", "time", "idle", "stages", "kernels", "operators", "findings", "seen")
