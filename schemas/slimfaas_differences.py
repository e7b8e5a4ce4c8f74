"""What a configuration that was written for SlimFaas means differently here, although it is valid."""

from collections.abc import Iterator

from schemas.configuration import Definitions
from schemas.definition import Definition
from schemas.faults import Fault
from schemas.images import split_tag

# What SlimFaas does is read from its documentation and source, version 0.81: https://github.com/SlimPlanet/SlimFaas


def find_differences(definitions: Definitions) -> list[Fault]:
    """Find what `slimfaas-jobs validate --from-slimfaas` tells; the pointers are those of the configuration."""
    return [fault for definition in definitions.values() for fault in _differences(definition)]


def _differences(definition: Definition) -> Iterator[Fault]:
    if definition.ttl_seconds_after_finished is None:
        yield Fault(
            definition.pointer("TtlSecondsAfterFinished"),
            "absent: SlimFaas removes a run 60 seconds after its end, here it is kept until somebody deletes it"
            + ("; and a SlimFaas in the namespace is not asked to start DependsOn" if definition.depends_on else ""),
        )
    for index, pattern in enumerate(definition.images_whitelist):
        repository, tag = split_tag(pattern)
        if "*" in repository and tag:
            yield Fault(
                definition.pointer("ImagesWhitelist", index),
                "in SlimFaas * also stands for slashes, here for one path segment: add a pattern for each depth",
            )
    if definition.holds_secret and definition.environments_whitelist is None:
        yield Fault(
            definition.pointer("EnvironmentsWhitelist"),
            "absent, and runs hold a Secret or a token: requests can set no variable; name here those that callers set",
        )
    if definition.visibility == "Public":
        yield Fault(
            definition.pointer("Visibility"),
            "in SlimFaas anyone may list the runs, here only trusted callers, unless SLIMFAAS_PUBLIC_LISTING=true",
        )
