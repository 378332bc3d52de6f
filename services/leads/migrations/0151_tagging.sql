-- Texts of a lead and what was found in them (11, 71). The activity says when, whose and of which customer.
CREATE TABLE transcripts (
    activity_id        uuid    PRIMARY KEY REFERENCES activities,
    lead_id            uuid    NOT NULL REFERENCES leads,
    text               text    NOT NULL,
    dictionary_version integer NOT NULL,
    -- [[tag, title, count], ...] and [[tag, start, end], ...]; offsets count code points of the text.
    tags               jsonb   NOT NULL,
    highlights         jsonb   NOT NULL,
    -- Titles of those tags that are pains, for the customer's profile (12).
    pain_tags          text[]  NOT NULL
);
CREATE INDEX transcripts_lead ON transcripts (lead_id, activity_id);

INSERT INTO documents (kind, version, author, document) VALUES ('tags', 1, 'breakwater', '{
  "tags": [
    {"id": "budget-short", "title": "预算不足", "pain": true,
     "words": ["预算不足", "预算不够", "没有预算", "没预算", "预算有限", "超预算", "超出预算"]},
    {"id": "boss-decides", "title": "要等老板批",
     "words": ["等老板批", "要等老板", "老板还没批", "领导还没批", "等领导批", "走审批", "要上会"]},
    {"id": "rival-cheaper", "title": "竞品报价更低",
     "words": ["竞品报价更低", "别家更便宜", "别家便宜", "比你们便宜", "同行报价低", "价格比上一家高"]},
    {"id": "erp-replacement", "title": "ERP替换", "pain": true, "words": ["ERP替换", "换ERP", "替换ERP", "ERP升级"]},
    {"id": "audit-pressure", "title": "合规审计压力大", "pain": true, "words": ["合规审计", "审计压力", "合规压力", "等保"]},
    {"id": "delivery-slow", "title": "交付周期长", "pain": true, "words": ["交付周期太长", "交期太长", "交货太慢", "赶不上工期"]},
    {"id": "quote", "title": "报价", "stage": "qualified", "words": ["报价", "报个价", "价格单", "报价单"]},
    {"id": "sample", "title": "样品", "stage": "qualified", "words": ["样品", "打样", "寄样", "试用装"]},
    {"id": "delivery-date", "title": "交期", "stage": "contacted", "words": ["交期", "交货期", "什么时候能到货", "多久能发货"]}
  ]
}');
