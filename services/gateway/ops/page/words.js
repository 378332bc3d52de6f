// What the page says, in the two languages of the people who use it.
const words = {
  en: {
    title: "dependencies", skip: "Skip to the content", leave: "Sign out", views: "Views", theme: "Dark or light", help: "Keyboard",
    edges: "Edges", graph: "Graph", timeline: "Timeline", waiting: "Backlog", noScript: "This page needs JavaScript.",
    incidents: "Incidents", edgesTitle: "Dependencies, worst first", filter: "Filter", filterHint: "caller, dependency or state",
    all: "all", state: "State", edge: "Caller → dependency", instances: "Instances", trend: "1 min", rate: "Calls/s", success: "Success",
    successHint: "first attempt → after retries", errorsHint: "in the rolling window", errors: "Errors", percentileHint: "of the slowest instance", retries: "Retries", retriesHint: "in the window · left in the budget",
    bulkhead: "In flight", probe: "Probe", slo: "SLO", sloHint: "how many times too fast the last hour spends the error budget; the rest by pointing at it", objective: "objective", burnRates: "budget burnt, times too fast", budgetSpent: "of the period's budget spent:", journeysBurning: "Error budgets of journeys", budgetBurning: "spends its error budget", budgetLeaking: "slowly spends its error budget", sinceMoment: "since", young: "young, data of", actions: "Actions", empty: "No process has reported yet. Unknown is not healthy.",
    noMatch: "Nothing matches the filter.", override: "Override", lift: "Lift", mode: "Mode", reason: "Reason", fault: "Fault", kind: "Kind",
    share: "Percent of the attempts", p50: "Median delay, seconds", code: "Code", injected: "injected", ttl: "Minutes until it ends by itself",
    cancel: "Cancel", set: "Set the override", noAnswer: "The ops process does not answer.", everyCaller: "Every caller's edge, not only this one",
    open: "open", "half-open": "half-open", closed: "closed", unknown: "unknown", partial: "partly silent", forced: "forced", computed: "computed",
    timeout: "timeout", rejected: "rejected", failed: "failed", short_circuited: "short-circuited", auth: "auth", overload: "overload",
    deadline: "deadline", caller_fault: "refused as asked", cancelled: "cancelled", successOutcome: "answered", asOf: "data", old: "old",
    waitingForData: "waiting for data", nothing: "Unknown: no fresh data", notClosed: "not closed", silent: "silent", overridden: "overridden",
    allClosed: "All circuits closed", acknowledge: "Acknowledge", acknowledgedBy: "In hand:", fallback: "Fallback", runbook: "Runbook", sinceWord: "for",
    rootCause: "Root cause", symptoms: "dragged along", hurts: "Hurts", changes: "Changed before", owner: "Owner", playbooks: "Playbooks",
    noIncident: "No open incident.", show: "Show the edge", back: "All edges", detail: "Edge", span: "Time shown", min5: "5 min", min15: "15 min",
    hour1: "1 h", hour6: "6 h", day1: "24 h", calls: "Calls and errors", latency: "Latency", circuit: "Circuit", noHistory: "Nothing is remembered of this edge yet.",
    attempts: "attempts", perStep: "per", unknownTime: "not heard", instance: "Instance", policy: "Policy", setting: "Setting", value: "Value",
    origin: "Set in", policyAsked: "asked of the processes themselves", noPolicy: "No process answered with its policy.", refusedFile: "A later policies file was refused:",
    firstSuccess: "First attempt", finalSuccess: "After retries", errorRate: "Error rate", slowRate: "Slow", budget: "Retry budget", queued: "queued",
    nextProbe: "Next probe", fallbacks: "Fallbacks", ofTheWindow: "of the rolling window", showOps: "Show ops itself", hiddenEdges: "calm edges are not drawn; filter to see them",
    graphTitle: "Who calls whom", graphHint: "An edge is a link to its figures. The dash and the mark tell the state as well as the colour.",
    kinds: "Kinds", circuitKind: "circuits", overrideKind: "overrides", incidentKind: "incidents", deployKind: "deploys", playbookKind: "playbooks",
    gateKind: "gate", otherKind: "other", noEntries: "Nothing on the record.", when: "When", what: "What", who: "Who", lastHour: "The last hour",
    verified: "The record is intact", altered: "The record was altered:", verify: "Verify the record", deadLetters: "Dead letters", noDeadLetters: "No dead letters.",
    deadLettersUnknown: "Dead letters are unknown:", event: "Event", about: "About", givenUpBy: "Given up by", tries: "Tries", failedAt: "When", replay: "Replay",
    replayed: "replayed", waits: "What waits", process: "Process", outbox: "Outbox", oldest: "Oldest", streams: "Streams", timers: "Timers",
    ageOf: "found", ago: "ago", noBacklogs: "No process has told what waits.", details: "as numbers", help1: "Move in the list", help2: "Open the edge",
    help3: "Override the edge", help4: "Filter", help5: "Views", help6: "Back", close: "Close", keys: "Single-key shortcuts are on", worst: "worst", none: "none",
    dark: "Dark", light: "Light", auto: "Auto", total: "edges", deadLettersShort: "dead letters", outboxShort: "in outboxes", timersShort: "timer lag",
    lagShort: "stream lag", latest: "latest", "journey-intake": "lead intake", "journey-assignment": "assignment", "journey-export": "exports", "journey-notification": "notifications", "journey-scoring": "scoring", preview: "What it does", run: "Run it", noRunbook: "There is no such runbook here.",
    "outcome-running": "Running …", "outcome-done": "✓ Done and verified", "outcome-rolled_back": "✕ Not verified: rolled back", "outcome-failed": "✕ Failed",
    "fault-down": "down", "fault-slow": "slow", "fault-gray": "gray", "fault-flapping": "flapping", "fault-credential": "credential refused", "fault-overload": "overloaded",
    "fault-replica": "one replica", "fault-shared": "shared", now: "now", most: "most", of: "of", handOver: "Hand over", handOverTo: "Hand over to", handedOverTo: "handed over to", note: "What they must know", report: "Report", save: "Save as Markdown", until: "until",
    failedRequests: "requests failed", degradedRequests: "degraded", failing: "is failing", journeysHurt: "journeys", by: "by", dependencyWord: "Dependency",
  },
  zh: {
    title: "依赖健康", skip: "跳到正文", leave: "退出", views: "视图", theme: "深色或浅色", help: "键盘",
    edges: "依赖边", graph: "关系图", timeline: "时间线", waiting: "积压", noScript: "本页需要 JavaScript。",
    incidents: "故障", edgesTitle: "依赖关系（最差在前）", filter: "筛选", filterHint: "调用方、依赖或状态",
    all: "全部", state: "状态", edge: "调用方 → 依赖", instances: "实例", trend: "1 分钟", rate: "每秒调用", success: "成功率",
    successHint: "首次尝试 → 重试之后", errorsHint: "滚动窗口内", errors: "错误", percentileHint: "最慢实例", retries: "重试", retriesHint: "窗口内 · 剩余预算",
    bulkhead: "在途", probe: "探测", slo: "SLO", sloHint: "最近一小时消耗错误预算的倍速；其余请指向查看", objective: "目标", burnRates: "预算消耗倍速", budgetSpent: "已消耗周期预算", journeysBurning: "用户旅程的错误预算", budgetBurning: "正在快速消耗错误预算", budgetLeaking: "正在缓慢消耗错误预算", sinceMoment: "自", young: "数据尚少，仅", actions: "操作", empty: "尚无进程上报。未知不等于健康。",
    noMatch: "没有符合筛选的条目。", override: "人工干预", lift: "解除", mode: "模式", reason: "原因", fault: "故障注入", kind: "类型",
    share: "占请求百分比", p50: "延迟中位数（秒）", code: "错误码", injected: "注入", ttl: "多少分钟后自动失效",
    cancel: "取消", set: "生效", noAnswer: "运维进程无应答。", everyCaller: "所有调用方的边，不只这一条",
    open: "熔断", "half-open": "半开", closed: "正常", unknown: "未知", partial: "部分失联", forced: "强制", computed: "计算值",
    timeout: "超时", rejected: "拒绝", failed: "失败", short_circuited: "短路", auth: "鉴权", overload: "过载",
    deadline: "截止", caller_fault: "请求有误", cancelled: "取消", successOutcome: "已应答", asOf: "数据", old: "前",
    waitingForData: "等待数据", nothing: "未知：没有新数据", notClosed: "条未恢复", silent: "条失联", overridden: "条人工干预",
    allClosed: "全部正常", acknowledge: "接手", acknowledgedBy: "处理人：", fallback: "降级", runbook: "处置手册", sinceWord: "已持续",
    rootCause: "根因", symptoms: "受牵连", hurts: "影响", changes: "此前变更", owner: "负责人", playbooks: "预案",
    noIncident: "没有未恢复的故障。", show: "查看该边", back: "全部依赖边", detail: "依赖边", span: "时间范围", min5: "5 分钟", min15: "15 分钟",
    hour1: "1 小时", hour6: "6 小时", day1: "24 小时", calls: "调用与错误", latency: "延迟", circuit: "熔断器", noHistory: "该边尚无历史。",
    attempts: "次尝试", perStep: "每", unknownTime: "无上报", instance: "实例", policy: "策略", setting: "设置项", value: "值",
    origin: "来源", policyAsked: "直接询问各进程", noPolicy: "没有进程返回策略。", refusedFile: "较新的策略文件被拒绝：",
    firstSuccess: "首次尝试", finalSuccess: "重试之后", errorRate: "错误率", slowRate: "慢调用", budget: "重试预算", queued: "排队",
    nextProbe: "下次探测", fallbacks: "降级次数", ofTheWindow: "滚动窗口", showOps: "显示运维进程自身", hiddenEdges: "条正常的边未画出，可筛选查看",
    graphTitle: "调用关系", graphHint: "点击边可查看其数据。线型和标记与颜色一同表示状态。",
    kinds: "类别", circuitKind: "熔断", overrideKind: "干预", incidentKind: "故障", deployKind: "发布", playbookKind: "预案",
    gateKind: "闸门", otherKind: "其他", noEntries: "尚无记录。", when: "时间", what: "内容", who: "操作人", lastHour: "最近一小时",
    verified: "记录完好", altered: "记录被改动：", verify: "校验记录", deadLetters: "死信", noDeadLetters: "没有死信。",
    deadLettersUnknown: "死信未知：", event: "事件", about: "对象", givenUpBy: "放弃方", tries: "次数", failedAt: "时间", replay: "重放",
    replayed: "已重放", waits: "积压情况", process: "进程", outbox: "发件箱", oldest: "最久", streams: "消息流", timers: "定时任务",
    ageOf: "数据", ago: "前", noBacklogs: "尚无进程上报积压。", details: "数字明细", help1: "在列表中移动", help2: "打开该边",
    help3: "干预该边", help4: "筛选", help5: "视图", help6: "返回", close: "关闭", keys: "启用单键快捷键", worst: "最差", none: "无",
    dark: "深色", light: "浅色", auto: "自动", total: "条边", deadLettersShort: "死信", outboxShort: "发件箱积压", timersShort: "定时延迟",
    lagShort: "消息延迟", latest: "最新", "journey-intake": "线索录入", "journey-assignment": "线索分配", "journey-export": "导出", "journey-notification": "通知", "journey-scoring": "评分", preview: "执行步骤", run: "执行", noRunbook: "此处没有该手册。",
    "outcome-running": "执行中……", "outcome-done": "✓ 完成并已验证", "outcome-rolled_back": "✕ 验证失败，已回滚", "outcome-failed": "✕ 失败",
    "fault-down": "不可用", "fault-slow": "变慢", "fault-gray": "间歇性失败", "fault-flapping": "反复抖动", "fault-credential": "凭证被拒", "fault-overload": "过载",
    "fault-replica": "单副本异常", "fault-shared": "共享依赖故障", now: "立即", most: "最多", of: "之", handOver: "移交", handOverTo: "移交给", handedOverTo: "已移交给", note: "须知事项", report: "报告", save: "下载 Markdown", until: "至",
    failedRequests: "次请求失败", degradedRequests: "次降级", failing: "故障", journeysHurt: "业务流程", by: "操作人", dependencyWord: "依赖",
  },
};

let chosen = localStorage.getItem("language") ?? (navigator.language.startsWith("zh") ? "zh" : "en");

export const language = () => chosen;
export const text = (key) => words[chosen][key] ?? key;

export function speak(node = document) {
  document.documentElement.lang = chosen;
  for (const each of node.querySelectorAll("[data-text]")) each.textContent = text(each.dataset.text);
  for (const each of node.querySelectorAll("[data-label-text]")) each.setAttribute("aria-label", text(each.dataset.labelText));
  for (const each of node.querySelectorAll("[data-title-text]")) each.title = text(each.dataset.titleText);
  for (const each of node.querySelectorAll("[data-hint-text]")) each.placeholder = text(each.dataset.hintText);
}

export function other() {
  chosen = chosen === "zh" ? "en" : "zh";
  localStorage.setItem("language", chosen);
}
