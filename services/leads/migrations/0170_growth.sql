-- Progressive capture (75, 76): which fields each growth stage of a lead unlocks, as a document that people change. A name
-- that is no column of leads is a detail, kept in leads.details.
INSERT INTO documents (kind, version, author, document) VALUES ('growth', 1, 'breakwater', '{
  "stages": [
    {"name": "contact", "title": "联系方式与产品", "fields": ["name", "phone", "email", "need", "product"],
     "complete_with": ["phone|email", "product"]},
    {"name": "profile", "title": "行业与规模", "fields": ["industry", "company_size", "region", "city_code"],
     "complete_with": ["industry", "company_size"]},
    {"name": "cycle", "title": "采购周期", "fields": ["purchase_cycle", "urgency"], "complete_with": ["purchase_cycle"]},
    {"name": "budget", "title": "预算", "fields": ["budget"], "complete_with": ["budget"]}
  ],
  "any_time": ["company", "website", "title", "department", "budget_owner", "content_preference", "minutes",
               "web_behaviour"]
}');
