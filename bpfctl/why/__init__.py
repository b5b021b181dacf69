"""Why a map was refused: the call is made again in memory, with one thing changed at a time."""
