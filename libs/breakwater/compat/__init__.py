"""The compatibility gate: what runs before every upgrade (contract-gate.md). Needs no server and nothing from outside.

`gate.run(...)` starts the candidate and compares it with every deployed release; it answers a `Report`.
`interface.describe(...)` writes down what a service promises and leans on; `release.write(...)` freezes it under `contracts/`.
"""
