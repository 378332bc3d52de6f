"""The compatibility gate: what runs before every upgrade (contract-gate.md). Needs no server and nothing from outside.

`gate.run(...)` compares a candidate with every deployed release of its service and answers a `Report`;
`release.write(...)` freezes the interface of a version under `contracts/`.
"""
