-- Leads are listed, counted and exported by source as they are by owner and stage: not by reading every lead.
CREATE INDEX leads_source ON leads (source, id);
