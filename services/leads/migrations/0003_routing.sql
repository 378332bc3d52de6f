-- Rules are data, versioned, never changed in place (40). The newest version is in force.
CREATE TABLE routing_rules (
    version    integer     PRIMARY KEY,
    document   jsonb       NOT NULL,
    author     text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Every decision with its explanation (8): candidates is [[person_id, name, rejected_because], ...].
CREATE TABLE assignments (
    id           uuid        PRIMARY KEY,
    lead_id      uuid        NOT NULL REFERENCES leads,
    owner_id     text,
    rule_id      text        NOT NULL,
    rule_version integer     NOT NULL,
    priority     text        NOT NULL,
    reason       text        NOT NULL,
    candidates   jsonb       NOT NULL,
    claim_by     timestamptz,
    decided_at   timestamptz NOT NULL
);
CREATE INDEX assignments_lead ON assignments (lead_id, id);

INSERT INTO routing_rules (version, author, document) VALUES (1, 'breakwater', '{
  "rules": [
    {"id": "keep-imported-owner", "title": "保留导入的负责人", "priority": "P2",
     "when": [], "target": {"kind": "imported_owner"}},
    {"id": "p0-east-manufacturing", "title": "华东制造业大额预算", "priority": "P0",
     "when": [{"field": "region", "op": "eq", "value": "华东"},
              {"field": "industry", "op": "eq", "value": "制造业"},
              {"field": "budget", "op": "gt", "value": "500000"}],
     "target": {"kind": "team", "team_id": "sales"}},
    {"id": "round-robin-sales", "title": "销售一部轮流", "priority": "P2",
     "when": [], "target": {"kind": "team", "team_id": "sales"}},
    {"id": "duty-desk", "title": "值班席兜底", "priority": "P3",
     "when": [], "target": {"kind": "duty_desk", "person_id": "duty-desk"}}
  ]
}');
