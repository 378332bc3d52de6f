// What the page says, in the two languages of the people who use it, and how it writes figures.
const words = {
  zh: {
    timeliness: "线索时效看板", personal: "个人看板", boards: "看板", skip: "跳到正文", leave: "退出", theme: "深色或浅色", auto: "自动", dark: "深色", light: "浅色",
    from: "起", to: "止", show: "查看", span: "时间范围", today: "今天", yesterday: "昨天", days7: "近 7 天", days30: "近 30 天", everybody: "全部范围",
    first: "平均首次响应", businessTime: "工作时间", wallTime: "自然时间", median: "中位数", onTime: "按时率", late: "超时", assigned: "分钟内分配", contacted: "小时内接触",
    goal: "目标", unassigned: "小时以上未分配", unassignedNote: "不限所选日期", lost: "流失线索", leads: "线索", responded: "已响应", of: "共", weight: "绩效权重", points: "绩效得分",
    teams: "各组响应", team: "小组", mean: "平均", spread: "中位数到 P90", lateTop: "超时最多", nobodyLate: "没有人超时。", lostTitle: "流失线索画像", industry: "行业", source: "来源", dwell: "停留时段",
    noLost: "这些天没有流失线索。", people: "人员明细", person: "姓名", noLeads: "这些天没有线索。", noTeam: "未分配", none: "—", each: "条",
    leadsBehind: "线索明细", lead: "线索", owner: "首次分配给", captured: "进入", response: "首次响应", due: "期限", stage: "阶段", moved: "已转给他人", more: "更多", back: "返回看板", unanswered: "未响应",
    figureleads: "全部线索", figureresponded: "已响应", figureon_time: "按时响应", figurelate: "超时响应", figureassigned_late: "分配不及时", figurecontacted_late: "接触不及时", figureunassigned: "长时间未分配", figurelost: "流失",
    new: "新线索", contacted_stage: "已联系", qualified: "已确认", converted: "已转化", lost_stage: "流失", closed: "关闭",
    open: "在途线索", overdue: "逾期", dueToday: "今天要做", onTime30: "近 30 天按时率", heat: "线索分布", by: "横看", amount: "金额", actions: "待办", nothingDue: "今天没有待办，漂亮。", claim: "认领线索",
    at: "截至", loading: "加载中……", noAnswer: "网关无应答。", sum: "合计", "industry-stage": "行业 × 阶段", "amount-stage": "金额 × 阶段", "industry-amount": "行业 × 金额",
  },
  en: {
    timeliness: "Lead timeliness", personal: "My day", boards: "Boards", skip: "Skip to the content", leave: "Sign out", theme: "Dark or light", auto: "Auto", dark: "Dark", light: "Light",
    from: "From", to: "To", show: "Show", span: "Days", today: "Today", yesterday: "Yesterday", days7: "7 days", days30: "30 days", everybody: "Everybody",
    first: "Mean first response", businessTime: "business time", wallTime: "by the clock", median: "median", onTime: "On time", late: "Late", assigned: "min: assigned", contacted: "h: contacted",
    goal: "goal", unassigned: "h without an owner", unassignedNote: "whatever the days", lost: "Lost leads", leads: "Leads", responded: "answered", of: "of", weight: "weight in performance", points: "Points",
    teams: "Response by team", team: "Team", mean: "Mean", spread: "median to p90", lateTop: "Most often late", nobodyLate: "Nobody was late.", lostTitle: "Profile of lost leads", industry: "Industry", source: "Source", dwell: "Time here",
    noLost: "No lead was lost on these days.", people: "By person", person: "Person", noLeads: "No leads on these days.", noTeam: "Nobody", none: "—", each: "",
    leadsBehind: "The leads behind it", lead: "Lead", owner: "First given to", captured: "Came", response: "First response", due: "Due", stage: "Stage", moved: "went to somebody else", more: "More", back: "Back to the board", unanswered: "none",
    figureleads: "all leads", figureresponded: "answered", figureon_time: "answered on time", figurelate: "late", figureassigned_late: "assigned late", figurecontacted_late: "contacted late", figureunassigned: "without an owner for long", figurelost: "lost",
    new: "new", contacted_stage: "contacted", qualified: "qualified", converted: "converted", lost_stage: "lost", closed: "closed",
    open: "Open leads", overdue: "Overdue", dueToday: "To do today", onTime30: "On time, 30 days", heat: "Where the leads are", by: "Look at", amount: "Amount", actions: "To do", nothingDue: "Nothing is due today.", claim: "Claim the lead",
    at: "as of", loading: "Loading …", noAnswer: "The gateway does not answer.", sum: "Sum", "industry-stage": "industry × stage", "amount-stage": "amount × stage", "industry-amount": "industry × amount",
    "1小时内": "under 1 h", "1天内": "under 1 day", "3天内": "under 3 days", "7天内": "under 7 days", "30天内": "under 30 days", "30天以上": "30 days or more", "其他": "others", "未填写": "not given",
    "10万以下": "under ¥100k", "10-50万": "¥100–500k", "50-100万": "¥500k–1M", "100万以上": "¥1M or more",
  },
};
let chosen = localStorage.getItem("language") ?? (navigator.language.startsWith("en") ? "en" : "zh");

export const language = () => chosen;
export const text = (key) => words[chosen][key] ?? key;
export const stage = (name) => words[chosen][`${name}_stage`] ?? text(name);

export function speak() {
  document.documentElement.lang = chosen;
  for (const each of document.querySelectorAll("[data-text]")) each.textContent = text(each.dataset.text);
  for (const each of document.querySelectorAll("[data-label-text]")) each.setAttribute("aria-label", text(each.dataset.labelText));
}

export function other() {
  chosen = chosen === "zh" ? "en" : "zh";
  localStorage.setItem("language", chosen);
}

export const count = (value) => new Intl.NumberFormat(chosen).format(value);
export const percent = (share) => (share.share === null ? text("none") : `${(100 * share.share).toFixed(1)}%`);
export const points = (each) => (each.on_time_points === null ? text("none") : each.on_time_points.toFixed(1));

export function long(seconds) {
  if (seconds === null || seconds === undefined) return text("none");
  const zh = chosen === "zh";
  if (seconds < 60) return `${Math.round(seconds)} ${zh ? "秒" : "s"}`;
  if (seconds < 6_000) return `${Math.round(seconds / 60)} ${zh ? "分钟" : "min"}`;
  if (seconds < 360_000) return `${(seconds / 3_600).toFixed(1)} ${zh ? "小时" : "h"}`;
  return `${(seconds / 86_400).toFixed(1)} ${zh ? "天" : "days"}`;
}

export function moment(iso, zone) {
  if (!iso) return text("none");
  const parts = { month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone: zone };
  return new Intl.DateTimeFormat(chosen === "zh" ? "zh-CN" : "en-GB", parts).format(new Date(iso));
}
