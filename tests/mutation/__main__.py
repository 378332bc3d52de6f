"""`python -m tests.mutation NAME...`: the mutants whose names hold one of the words, one after the other, with what was said."""

import sys

from tests.mutation import compatible, corpus


def main() -> None:
    """Prints each outcome as it comes."""
    words = sys.argv[1:]
    every = [mutant for mutants in corpus.DIMENSIONS.values() for mutant in mutants()] + list(compatible.mutants())
    chosen = [mutant for mutant in every if any(word in mutant.name for word in words)]
    outcomes = corpus.run(
        chosen, 1, lambda each: print(f"{each.took_s:5.1f} s {each.mutant}\n        {each.line}", flush=True)
    )
    print(corpus.table(outcomes))


if __name__ == "__main__":
    main()
