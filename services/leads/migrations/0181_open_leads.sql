-- Whose open leads must go to somebody else is asked all the time: not by reading every lead that people who left ever had.
CREATE INDEX leads_owner_open ON leads (owner_id) WHERE stage IN ('new', 'contacted', 'qualified');
-- Organisations that no decision refers to: kept for transfers and merges, which ask no rule.
DELETE FROM routing_grounds WHERE NOT EXISTS (SELECT FROM assignments WHERE ground = hash);
