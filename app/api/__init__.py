"""The HTTP edge: parse, call one service, reply. Every rule lives further in."""
