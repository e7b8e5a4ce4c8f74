"""docs/schedules.md: its configuration is valid, and the names of the CronJobs are those that it makes."""

import re
from pathlib import Path

from app.kube.schedule_records import configured_targets
from schemas.configuration import parse_configuration

PAGE = (Path(__file__).parents[2] / "docs" / "schedules.md").read_text("utf-8")


def test_configuration__makes_the_cronjobs_that_the_page_shows() -> None:
    (block,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    made = configured_targets(parse_configuration(block))
    shown = {
        name: (schedule, zone, suspended)
        for name, schedule, zone, suspended in re.findall(
            r"^(report-\w+) +(\S+(?: \S+){4}) +(\S+) +(True|False) ", PAGE, re.MULTILINE
        )
    }
    assert shown == {
        name: (target.schedule.cron, target.schedule.time_zone, str(bool(target.schedule.suspend)))
        for name, target in made.items()
    }
    assert set(re.findall(r"\breport-[a-z2-7]{8}\b", PAGE)) <= set(made)
