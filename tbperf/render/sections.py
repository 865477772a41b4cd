"""The tables of a report, as a reader asks for them."""

SECTIONS = (
    "ranks",
    "time",
    "idle",
    "gaps",
    "gap-lengths",
    "what-if",
    "stages",
    "steps",
    "kernels",
    "families",
    "copies",
    "copies-one-by-one",
    "collectives",
    "launches",
    "syncs",
    "operators",
    "shapes",
    "threads",
    "loader",
    "hardware",
    "modules",
    "memory",
    "nsys",
    "findings",
    "seen",
)
"""In the order in which they are shown; a device section says nothing of a run on the CPU."""

ON_ONE_SCREEN = ("ranks", "time", "idle", "stages", "kernels", "operators", "loader", "findings", "seen")
