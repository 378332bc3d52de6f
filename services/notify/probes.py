"""The harmless questions to live chat robots: each names no robot of ours, so that nobody is told anything.

As `contracts/external` has them, which `tests/contract/test_provider_questions.py` holds them to.
"""

from breakwater.chassis.provider_probes import Question

QUESTIONS = {
    "wecom": Question(
        "POST",
        "/cgi-bin/webhook/send?key=breakwater-probe",
        {"errcode": (93000,)},
        json={"msgtype": "text", "text": {"content": "您好"}},
    ),
    "dingtalk": Question(
        "POST",
        "/robot/send?access_token=breakwater-probe",
        {"errcode": (400101, 300005)},
        json={
            "msgtype": "markdown",
            "markdown": {"title": "提醒", "text": "您好 @13800000000"},
            "at": {"atMobiles": ["13800000000"], "atUserIds": [], "isAtAll": False},
        },
    ),
    "feishu": Question("POST", "/open-apis/bot/v2/hook/breakwater-probe", {"code": (9499, 19001)}, json={}),
}
