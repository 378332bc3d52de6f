// What the page says, in the two languages of the people who use it.
export const words = {
  en: {
    skip: "Skip to the dependencies", leave: "Sign out", incidents: "Incidents", edges: "Dependencies, worst first", filter: "Filter",
    state: "State", edge: "Caller → dependency", rate: "Calls/s", availability: "Availability", errors: "Errors in the window",
    retries: "Retries", bulkhead: "In flight", probe: "Next probe", actions: "Actions", timeline: "What changed",
    empty: "No process has reported yet. Unknown is not healthy.", override: "Override", lift: "Lift the override", mode: "Mode", reason: "Reason",
    fault: "Fault", kind: "Kind", share: "Percent of the attempts", p50: "Median delay, seconds", code: "Code", injected: "injected",
    ttl: "Minutes until it ends by itself", cancel: "Cancel", set: "Set the override", noAnswer: "The ops process does not answer.",
    open: "open", "half-open": "half-open", closed: "closed", unknown: "unknown", timeout: "timeout", rejected: "rejected", failed: "failed",
    short_circuited: "short-circuited", auth: "auth", overload: "overload", deadline: "deadline", asOf: "as of", waiting: "waiting for data",
    nothing: "Unknown: no fresh data", notClosed: "circuits not closed", silent: "edges silent", overridden: "overridden", allClosed: "All circuits closed",
  },
  zh: {
    skip: "跳到依赖列表", leave: "退出", incidents: "故障", edges: "依赖关系（最差在前）", filter: "筛选",
    state: "状态", edge: "调用方 → 依赖", rate: "每秒调用", availability: "可用率", errors: "窗口内错误",
    retries: "重试", bulkhead: "在途", probe: "下次探测", actions: "操作", timeline: "变更记录",
    empty: "尚无进程上报。未知不等于健康。", override: "人工干预", lift: "解除干预", mode: "模式", reason: "原因",
    fault: "故障注入", kind: "类型", share: "占请求百分比", p50: "延迟中位数（秒）", code: "错误码", injected: "注入",
    ttl: "多少分钟后自动失效", cancel: "取消", set: "生效", noAnswer: "运维进程无应答。",
    open: "熔断", "half-open": "半开", closed: "正常", unknown: "未知", timeout: "超时", rejected: "拒绝", failed: "失败",
    short_circuited: "短路", auth: "鉴权", overload: "过载", deadline: "截止", asOf: "数据距今", waiting: "等待数据",
    nothing: "未知：没有新数据", notClosed: "条熔断未恢复", silent: "条无上报", overridden: "条人工干预", allClosed: "全部正常",
  },
};
