"""Which environment variables a request may set."""

from collections.abc import Iterator

from schemas.definition import Definition, Variable
from schemas.faults import Fault, pointer_to
from schemas.steering import is_steering
from schemas.wildcards import matches


def environment_faults(definition: Definition, variables: tuple[Variable, ...]) -> Iterator[Fault]:
    """Find the variables of a request that the definition does not let it set, and those that it names twice."""
    # Some systems do not tell upper from lower case in these names.
    secret = {variable.name.upper() for variable in definition.environments if variable.is_secret}
    template = definition.template
    seen: set[str] = set()
    for index, variable in enumerate(variables):
        pointer = pointer_to("Environments", index)
        if variable.name in seen:
            yield Fault(pointer, "named twice")
        seen.add(variable.name)
        if variable.name.upper() in secret:
            yield Fault(pointer, "this definition takes this variable from a Secret, so no request can set it")
        elif template is not None and variable.name.upper() in template.fixed_variables:
            yield Fault(pointer, "this variable decides what this definition mounts, so no request can set it")
        elif refusal := _find_refusal(definition, variable.name):
            yield Fault(pointer, refusal)


def _find_refusal(definition: Definition, name: str) -> str:
    """Return why a request may not set a variable, and what the definition's author can do; empty: it may."""
    whitelist = definition.environments_whitelist
    if whitelist is None:
        if definition.holds_secret:
            held = "a Secret or a token" if definition.template is None else "a Secret, a token, a volume or the like"
            return (
                f"runs of this definition hold {held}, so a request can set only the variables that "
                "EnvironmentsWhitelist of the definition names, and it has none"
            )
        if is_steering(name):
            return (
                "this variable steers how programs are loaded or run; a request can set it only if "
                "EnvironmentsWhitelist of the definition names it"
            )
        return ""
    if name in whitelist:
        return ""
    if not any(matches(pattern, name) for pattern in whitelist):
        return "not among the variables that EnvironmentsWhitelist of the definition lets requests set"
    if is_steering(name):
        return (
            "this variable steers how programs are loaded or run; a pattern with * does not allow it, so "
            "EnvironmentsWhitelist of the definition must name it in full"
        )
    if definition.template is not None and definition.template.names_variables_in_full:
        return (
            "this definition takes variables from a whole Secret or ConfigMap; a pattern with * does not allow any "
            "variable, so EnvironmentsWhitelist of the definition must name it in full"
        )
    return ""
