"""Prints the Fibonacci number of its first argument: what the image `axaguildev/fibonacci-batch` does here.

Fibonacci(0) = 0, Fibonacci(1) = 1, Fibonacci(42) = 267914296. Further arguments are ignored.
"""

import sys

LIMIT = 100_000  # its number has 20,899 digits; more would only fill a log


def fibonacci(index: int) -> int:
    """The Fibonacci number of an index from 0."""
    current, following = 0, 1
    for _ in range(index):
        current, following = following, current + following
    return current


def main(arguments: list[str]) -> int:
    """Print the number; the exit code is 2 when the argument is missing or no index."""
    try:
        index = int(arguments[0])
        if not 0 <= index <= LIMIT:
            raise ValueError
    except IndexError:
        print(f"fibonacci: an argument is missing: an integer from 0 to {LIMIT}", file=sys.stderr)
        return 2
    except ValueError:
        print(f"fibonacci: not an integer from 0 to {LIMIT}: {arguments[0]!r}", file=sys.stderr)
        return 2
    sys.set_int_max_str_digits(0)
    print(fibonacci(index))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
