"""The differential run: a change that was not blocked and the original answer thousands of other credentials the same."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from breakwater.compat import candidate, interface, peers, replay
from breakwater.compat.messages import Messages
from breakwater.compat.vectors import EMITTED, Recipe
from breakwater.compat.world import World
from breakwater.local.topology import PROCESSES

CREDENTIALS = 2_000
"""Beyond those of the gate: half of them a good one with one or two odd values, which nothing else spoils."""
_ODD: tuple[Any, ...] = (
    "", "k", "k" * 201, "k" * 4_000, "a\u0007b", "\u0444\u0430\u0439\u043b\u044b", "\ud800", "none", "1", 0, 1, -1, 1.5,
    2**60, True, None, [], ["x"], {"x": 1}, {"now": -3}, {"now": 3}, {"now": -30}, {"now": 30}, {"now": 4_000},
)  # fmt: skip
_HEADER = ("alg", "kid", "typ", "cty", "crit", "jwk", "jku", "x5u", "x5c", "b64", "zip", "enc", "epk")
_CLAIMS = ("iss", "sub", "aud", "iat", "exp", "nbf", "jti", "role", "scope")


async def alike(world: World, original: Path, tree: Path, service: str, messages: Messages) -> bool:
    """Whether the candidates of both trees, run one after the other, answer the same to each of the credentials."""
    recipes = list(_credentials(service, random.Random(service)))
    method = interface.probe_method(service, messages)
    answers = []
    for code in (original, tree):
        others = [name for name in PROCESSES if name != service]
        settings = {"ENVIRONMENT": "production"}
        async with peers.standing_in(others) as stand_ins, candidate.running(
            world, code, service, stand_ins.addresses, settings=settings
        ) as running:  # fmt: skip
            outcomes = await replay.play(world, running, service, method, recipes)
            answers.append([each.outcome for each in outcomes])
    return answers[0] == answers[1]


def _credentials(service: str, chooser: random.Random) -> Iterator[Recipe]:
    every = [recipe for recipe in replay.recipes_for(service) if recipe.transport == "grpc"]
    singles = [recipe for recipe in every if " + " not in recipe.name]
    real = next(recipe for recipe in singles if recipe.name == EMITTED)
    for number in range(CREDENTIALS):
        if number % 2:
            yield _mixed(chooser.sample(singles, 3))
        else:
            yield _odd(_odd(real, chooser) if number % 4 else real, chooser)


def _odd(recipe: Recipe, chooser: random.Random) -> Recipe:
    """With one value that a client of ours never sends."""
    value = chooser.choice(_ODD)
    match chooser.randrange(3):
        case 0:
            return replace(recipe, header=recipe.header | {chooser.choice(_HEADER): value})
        case 1:
            return replace(recipe, claims=recipe.claims | {chooser.choice(_CLAIMS): value})
    # Beside the right one.
    named = recipe.claims["aud"]
    audiences = [*(named if isinstance(named, list) else [named]), *[value] * chooser.choice((1, 1, 14, 15, 16))]
    return replace(recipe, claims=recipe.claims | {"aud": audiences})


def _mixed(recipes: Sequence[Recipe]) -> Recipe:
    """The head of one, the claims of another, the rest of a third."""
    head, claims, rest = recipes
    return replace(rest, name=" + ".join(each.name for each in recipes), header=head.header, claims=claims.claims)
