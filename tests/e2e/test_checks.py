"""`breakwater check` on a platform that nobody has broken."""

import json

from tests.support.platform import eventually


def test_checks_speak_the_monitoring_systems_languages(platform):
    """One line for Nagios, JSON for scripts, text for Prometheus."""
    assert eventually("all is well", lambda: platform.cli("check", check=False).stdout.startswith("BREAKWATER OK"))
    assert json.loads(platform.cli("check", "--format", "json").stdout)["level"] == "OK"
    assert 'breakwater_check{check="gateway"} 0' in platform.cli("check", "--format", "prometheus").stdout
