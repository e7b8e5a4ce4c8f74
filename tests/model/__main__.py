"""Explores the dispatcher's decisions: `make model`, or `python -m tests.model --seed N` for one schedule again."""

from __future__ import annotations

import argparse
import sys
import time
from multiprocessing import Pool

from tests.model.explore import Found, explore_all, explore_one
from tests.model.kinds import DRAWN, EXHAUSTIVE

_MOST_STATES = 1_500_000
_STEPS = 36
_CHUNK = 2_000
_PROCESSES = 2


def draw(seed: int) -> Found:
    """Take the schedule of a seed; every tenth has to bring every run to its end afterwards."""
    return explore_one(DRAWN[seed % len(DRAWN)], seed, steps=_STEPS, completes=seed % 10 == 0)


def _explore(name: str) -> tuple[str, Found, float]:
    began = time.monotonic()
    return name, explore_all(EXHAUSTIVE[name], most_states=_MOST_STATES), time.monotonic() - began


def _draw_chunk(first: int) -> tuple[int, int, Found | None]:
    """Take a number of schedules; returns the steps taken, and the first seed that breaks a promise."""
    steps = 0
    for seed in range(first, first + _CHUNK):
        found = draw(seed)
        steps += found.states
        if found.schedule is not None:
            return steps, seed, found
    return steps, first, None


def _print_broken(what: str, found: Found) -> None:
    print(f"{what}: {found.broken}")
    for action in found.schedule or ():
        print(" ", *action)


def main() -> int:
    """Run as a command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.model")
    parser.add_argument("--schedules", type=int, default=1_000_000, help="how many are drawn")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="repeat the schedule of this seed and print it")
    parser.add_argument("--no-worlds", action="store_true", help="explore no world exhaustively")
    options = parser.parse_args()
    if options.seed is not None:
        found = draw(options.seed)
        _print_broken(f"seed {options.seed}", found)
        return 1 if found.schedule else 0
    with Pool(_PROCESSES) as pool:
        if not options.no_worlds:
            for name, found, seconds in pool.imap_unordered(_explore, EXHAUSTIVE):
                if found.schedule is not None:
                    _print_broken(name, found)
                    return 1
                print(f"{name}: {found.states} states, all promises kept, {seconds:.0f} s", flush=True)
        began, drawn, steps = time.monotonic(), 0, 0
        chunks = range(options.first, options.first + options.schedules, _CHUNK)
        for taken, seed, broken in pool.imap_unordered(_draw_chunk, chunks):
            steps += taken
            drawn += _CHUNK
            if broken is not None:
                _print_broken(f"seed {seed}", broken)
                return 1
            if drawn % 100_000 == 0:
                print(f"{drawn} schedules, {steps} steps, {time.monotonic() - began:.0f} s", flush=True)
    print(f"{drawn} schedules drawn, {steps} steps, all promises kept")
    return 0


if __name__ == "__main__":
    sys.exit(main())
