-- Documents people change: versions are kept, never changed in place, the newest is in force. `playbook`: what follow-ups are
-- held to and what quick actions fill (10, 60); `tags`: the words texts are tagged by (11, 71).
CREATE TABLE documents (
    kind       text        NOT NULL,
    version    integer     NOT NULL,
    document   jsonb       NOT NULL,
    author     text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, version)
);

INSERT INTO documents (kind, version, author, document) VALUES ('playbook', 1, 'breakwater', '{
  "mandatory_columns": ["goal", "customer_words", "next_action"],
  "objections": ["无", "价格", "交付周期", "定制能力", "预算不足", "决策流程", "竞品", "其他"],
  "pain_tags_max": 3,
  "vague_words": ["再联系", "保持联系", "持续跟进", "再看看", "看情况", "改天", "到时候", "尽快", "差不多", "有意向"],
  "actions": [
    {"code": "no-answer", "name": "电话未接通", "goal": "电话联系客户", "customer_words": "未接通",
     "script": "您好，刚才给您致电未能接通，方便时请回电。", "objection": "无", "next_action": "再次致电", "due_after_h": 4},
    {"code": "first-call", "name": "首次电话", "goal": "了解需求", "customer_words": "已接通",
     "script": "您好，我是您的专属顾问，想了解一下您目前的需求。", "objection": "无", "stage": "contacted",
     "next_action": "发送资料并约下次沟通", "due_after_h": 9},
    {"code": "material-sent", "name": "资料已发", "goal": "提供产品资料", "customer_words": "同意查看资料",
     "script": "资料已发送，请您查收，有疑问随时联系。", "objection": "无", "stage": "contacted",
     "next_action": "电话确认资料反馈", "due_after_h": 18},
    {"code": "quote-sent", "name": "报价已发", "goal": "发送报价", "customer_words": "等待报价",
     "script": "报价单已发送，有效期 15 天。", "objection": "价格", "stage": "qualified",
     "next_action": "确认报价反馈", "due_after_h": 18},
    {"code": "visit-booked", "name": "已约拜访", "goal": "约定上门拜访", "customer_words": "同意拜访",
     "script": "感谢您的时间，我们将按约定时间上门。", "objection": "无", "stage": "qualified",
     "next_action": "上门拜访", "due_after_h": 27}
  ]
}');

-- The process fields a follow-up is complete with (99), as they were when it was written.
ALTER TABLE follow_ups
    ADD COLUMN source         text NOT NULL DEFAULT '',
    ADD COLUMN first_touch_at timestamptz,
    ADD COLUMN stage          text NOT NULL DEFAULT '',
    -- The quick action that filled it (60); '' when it was written out.
    ADD COLUMN action_code    text NOT NULL DEFAULT '';
UPDATE follow_ups AS f SET source = l.source, stage = l.stage, first_touch_at = first.at
FROM leads AS l, (SELECT lead_id, min(created_at) AS at FROM follow_ups GROUP BY lead_id) AS first
WHERE l.id = f.lead_id AND first.lead_id = f.lead_id;
ALTER TABLE follow_ups
    ALTER COLUMN first_touch_at SET NOT NULL,
    -- How many are taken is the playbook's to say; this bounds what it may say.
    DROP CONSTRAINT follow_ups_pain_tags_check,
    ADD CHECK (cardinality(pain_tags) <= 10);
CREATE INDEX follow_ups_customer ON follow_ups (customer_id, created_at, id);
CREATE INDEX follow_ups_created ON follow_ups (created_at);

-- What was done to a lead beside what has a table of its own: claims and changes of stage, for its history (15).
CREATE TABLE lead_steps (
    id         uuid        PRIMARY KEY,
    lead_id    uuid        NOT NULL REFERENCES leads,
    kind       text        NOT NULL CHECK (kind IN ('claimed', 'stage_changed')),
    -- Empty: an import.
    actor_id   text        NOT NULL,
    from_stage text        NOT NULL DEFAULT '',
    to_stage   text        NOT NULL DEFAULT '',
    reason     text        NOT NULL DEFAULT '',
    at         timestamptz NOT NULL
);
CREATE INDEX lead_steps_lead ON lead_steps (lead_id, at);
